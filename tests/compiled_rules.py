"""The Python of the Snakefile and the rules: for ``make check``, which lints it, and for tests.

Snakemake compiles its files to Python. Here the compiled files are put together in the order of their inclusion, and ruff and
mypy look at the result; what they find is told with the line of the original.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from snakemake.parser import parse
from snakemake.sourcecache import LocalSourceFile

ROOT = Path(__file__).parents[1]
GLOBALS = """\
from pathlib import Path
from typing import Any
from snakemake.io import report, temp, update
workflow: Any = None
rules: Any = None
config: dict[str, Any] = {}
"""
"""What Snakemake gives to every file."""

INCLUDE = re.compile(r"^workflow\.include\(\s*[\"'](.+?)[\"']", re.M)
HOOK = re.compile(r"^(def __\w+)\(log\):$")

RULES = "F,B,C4,PIE,RET,SIM,UP,PLC,PLE,PERF"


def compiled(path: Path) -> list[tuple[str, str]]:
    """Lines of Python of a file and of all that it includes, each with the file and line it comes from."""
    lines: dict[int, int] = {}
    reader = SimpleNamespace(sourcecache=SimpleNamespace(open=lambda file, *_: path.open(encoding="utf-8")))
    code, _ = parse(LocalSourceFile(str(path)), reader, lines)
    result: list[tuple[str, str]] = []
    skipping = False  # the rest of a call that includes a file, or the body of a rule
    for number, line in enumerate(code.splitlines(), 1):
        if skipping and (not line.strip() or line[0] in "\t)"):
            continue
        origin = f"{path.relative_to(ROOT)}:{lines.get(number, 1)}"
        included, skipping = INCLUDE.match(line), False
        if included:
            result += compiled(path.parent / included[1])
            skipping = True
        elif line.startswith("def __rule_"):
            result += [(f"{line.partition('(')[0]}() -> None:", origin), ("\tpass", origin)]
            skipping = True
        else:
            result.append((HOOK.sub(r"\1(log: Any) -> None:", line), origin))
    return result


def program() -> str:
    """The whole workflow as one Python program."""
    return GLOBALS + "\n".join(line for line, _ in compiled(ROOT / "Snakefile")) + "\n"


def lint(command: list[str], origins: list[str]) -> bool:
    """Run a linter; tell what it finds of the lines they come from."""
    environment = {**os.environ, "MYPYPATH": f"{ROOT}/workflow_scripts"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    for line in done.stdout.splitlines():
        match = re.match(r".*workflow\.py:(\d+)(.*)", line)
        print(f"{origins[int(match[1]) - 1]}{match[2]}" if match else line)
    return done.returncode == 0


def main() -> None:
    """Lint the workflow; exits with 1 if something is found."""
    lines = [(line, "(globals)") for line in GLOBALS.splitlines()] + compiled(ROOT / "Snakefile")
    origins = [origin for _, origin in lines]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workflow.py"
        path.write_text("\n".join(line for line, _ in lines) + "\n", encoding="utf-8")
        python = [sys.executable, "-m"]
        checks = [
            [*python, "ruff", "check", "--no-cache", "--isolated", "--select", RULES, "--output-format", "concise"],
            [
                *python,
                "mypy",
                "--config-file",
                "",
                "--strict",
                "--allow-untyped-decorators",
                "--ignore-missing-imports",
                "--follow-imports",
                "silent",
            ],
        ]
        fine = [lint([*check, str(path)], origins) for check in checks]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
