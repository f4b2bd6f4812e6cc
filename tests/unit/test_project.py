"""The project's own rules: sizes, documented and typed definitions, nothing that runs what it reads, pins."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import ROOT

PACKAGE = ROOT / "workflow_scripts" / "purelens"
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
RULES = sorted((ROOT / "rules").glob("*.smk"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 400, 40, 12
DOCUMENTED_FROM = 3
"""Parameters from which on each of them is described."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body)


def parameters_of(node: ast.FunctionDef) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return [argument.arg for argument in every if argument is not None and argument.arg not in ("self", "cls")]


def described_in(docstring: str) -> list[str]:
    """Names of the parameters that a numpydoc docstring describes."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+$|\Z)", docstring, re.S | re.M)
    lines = section[1].splitlines() if section else []
    return [name.strip() for line in lines if re.match(r"\w", line) for name in line.split(":")[0].split(",")]


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS, *TESTS, *RULES], ids=name_of)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def length_of(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS, *TESTS], ids=name_of)
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    """Signature and body are counted, the docstring is not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = length_of(node.body[0]) if ast.get_docstring(node) else 0
            assert length_of(node) - docstring <= MOST_LINES_OF_A_FUNCTION, node.name
            assert len(parameters_of(node)) <= MOST_PARAMETERS, node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_is_documented(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    for node in definitions(tree.body):
        docstring = ast.get_docstring(node)
        assert docstring, node.name
        if isinstance(node, ast.FunctionDef) and len(parameters_of(node)) >= DOCUMENTED_FROM:
            assert sorted(described_in(docstring)) == sorted(parameters_of(node)), node.name
            if node.returns is not None and ast.unparse(node.returns) != "None":
                assert re.search(r"^(Returns|Yields)\n---", docstring, re.M), node.name


def test_nothing_unpickles_or_evaluates() -> None:
    for path in [*MODULES, *SCRIPTS, *RULES]:
        text = path.read_text()
        assert not re.search(r"(?<![\w.])(eval|exec)\(|import pickle\b|allow_pickle=True", text), path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call


def constraints() -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in (ROOT / "envs" / "constraints.txt").read_text().splitlines():
        match = re.match(r"([A-Za-z0-9_.-]+)==([^\s;]+)", line)
        assert match, line
        pins.setdefault(match[1].lower().replace("_", "-"), set()).add(match[2])
    return pins


def dependencies() -> dict[str, Any]:
    """What is installed, with its oldest version."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return {name.lower().replace("_", "-"): version for name, version in (item.split(">=") for item in listed)}


def test_conda_and_pip_have_the_same_versions() -> None:
    pins = constraints()
    environment = yaml.safe_load((ROOT / "envs" / "purelens.yaml").read_text())
    packages = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    versions = dict(item.lower().replace("_", "-").split("==") for item in packages)
    assert versions.keys() == dependencies().keys()
    for name, version in versions.items():
        assert version in pins[name], name
    assert {"torch", "snakemake", "pytest"} <= set(pins)
    assert not any("+" in version for versions in pins.values() for version in versions)


def test_the_oldest_snakemake_is_the_same_everywhere() -> None:
    (oldest,) = re.findall(r'^min_version\("(.+)"\)', (ROOT / "Snakefile").read_text(), re.M)
    assert oldest == dependencies()["snakemake"]


def test_snakefile_is_a_table_of_contents() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 70


@pytest.mark.parametrize(
    "name", ["LICENSE", "CITATION.cff", "CHANGELOG.md", "README.md", "CONTRIBUTING.md", "SECURITY.md"]
)
def test_files_of_a_release(name: str) -> None:
    assert (ROOT / name).stat().st_size > 200
