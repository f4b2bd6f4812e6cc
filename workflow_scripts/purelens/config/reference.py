"""Generate ``config.schema.json`` and the README's table of keys from the configuration model."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from purelens.config.base import Section, subsection
from purelens.config.study import Config

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "config.schema.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- keys: written by make docs -->", "<!-- end of keys -->"


def schema_text() -> str:
    """Return the JSON schema of a study."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def table_text() -> str:
    """Return the table of keys, in Markdown."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, default, description in _rows(Config, ""):
        lines.append(f"| `{key}` | {default} | {description.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _rows(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        inner, named = subsection(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", _default(field.default), field.description or ""
            continue
        path = f"{prefix}{name}.NAME." if named else f"{prefix}{name}."
        yield from _rows(inner, path)


def _default(value: Any) -> str:
    return "required" if value is PydanticUndefined else f"`{json.dumps(value, default=str)}`"


def readme_text(readme: str) -> str:
    """Replace the table in the text of the README."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table_text()}\n{END}{after}"


def main() -> None:
    """Write both files."""
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    README.write_text(readme_text(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {SCHEMA.name} and the table in {README.name}\n")


if __name__ == "__main__":
    main()
