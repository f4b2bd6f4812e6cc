"""Generate ``config.schema.json`` and the README's table of keys from the configuration model."""

import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from purelens.config.study import Config, Section

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "config.schema.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- keys: written by make docs -->", "<!-- end of keys -->"


def schema_text() -> str:
    """The JSON schema of a study."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def table_text() -> str:
    """The table of keys, in Markdown."""
    lines = ["| key | default | what it is |", "|---|---|---|"]
    for key, default, description in _rows(Config, ""):
        lines.append(f"| `{key}` | {default} | {description.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _rows(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in section.model_fields.items():
        inner, named = _inner(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", _default(field.default), field.description or ""
            continue
        path = f"{prefix}{name}.NAME." if named else f"{prefix}{name}."
        yield from _rows(inner, path)


def _inner(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section that a field holds, if any, and whether there is one for each of several names."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    if typing.get_origin(annotation) is dict:
        value = typing.get_args(annotation)[1]
        if isinstance(value, type) and issubclass(value, Section):
            return value, True
    return None, False


def _default(value: Any) -> str:
    return "required" if value is PydanticUndefined else f"`{json.dumps(value, default=str)}`"


def readme_text(readme: str) -> str:
    """Put the table into the README's text."""
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
