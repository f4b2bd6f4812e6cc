"""The project's own rules: thin scripts, one-way imports, sizes, pins."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from helpers import ROOT

PACKAGE = ROOT / "workflow_scripts" / "purelens"
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
RULES = sorted((ROOT / "rules").glob("*.smk"))


def names_of_rules() -> list[str]:
    return [name for path in RULES for name in re.findall(r"^rule (\w+):", path.read_text(), re.M)]


def test_one_rule_one_script_of_the_same_name() -> None:
    assert sorted(names_of_rules()) == [path.stem for path in SCRIPTS]
    for path in RULES:
        for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.M):
            assert f'"../workflow_scripts/{rule}.py"' in body, rule
            made = () if rule == "plan" else ("output", "benchmark", "threads", "resources")
            for directive in (*made, "params", "log", "conda", "message", "script"):
                assert f"    {directive}:" in body, (rule, directive)
            assert f'code=code_digest("{rule}")' in body, rule


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_only_call_the_function_of_their_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    _, *imports, call = tree.body
    assert f"(rule {path.stem})" in ast.get_docstring(tree)
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert ast.unparse(call) == f"run({path.stem}, snakemake)"


def test_the_library_does_not_know_snakemake() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "snakemake" for name in names), path


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "purelens":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("purelens.")
                is_module = PACKAGE.joinpath(*inner.split(".")).with_suffix(".py").is_file()
                found.add(inner if is_module else inner.rpartition(".")[0])
    return found - {""}


def packages_in_order() -> dict[str, int]:
    """The rank of each package: the row in which ``docs/architecture.md`` lists it."""
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Packages")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.M)
    return {name: rank for rank, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def imports() -> dict[str, set[str]]:
    """Modules of the package, each with the modules that it imports."""
    names = {path: path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".") for path in MODULES}
    return {name: imported_modules(path) for path, name in names.items() if path.name != "__init__.py"}


def test_imports_go_down_the_list_of_packages() -> None:
    rank = packages_in_order()
    for module, imported in imports().items():
        home = module.split(".")[0]
        for other in (name.split(".")[0] for name in imported):
            assert other == home or rank[other] < rank[home], f"{module} imports {other}"
    assert set(rank) == {module.split(".")[0] for module in imports()}


def test_no_modules_import_each_other() -> None:
    assert list(TopologicalSorter(imports()).static_order())  # an error names a circle


def test_stages_without_a_gpu_do_not_import_torch() -> None:
    modules = ["data.dataset", "storage.gather", "circuits.virtual_neurons", "circuits.interpretability"]
    modules += ["circuits.alignment", "circuits.projections", "explanations.explain", "explanations.simulate"]
    modules += ["figures.neuron_figures", "figures.layer_figures", "report.pages", "report.explorer"]
    modules += ["world.world_scenes", "reruns.staleness", "config.study", "workflow.preflight"]
    imports = "; ".join(f"import purelens.{module}" for module in modules)
    code = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow_scripts", check=True)


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=lambda path: path.stem)
def test_functions_and_modules_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 40, node.name


@pytest.mark.parametrize("path", [*MODULES], ids=lambda path: path.stem)
def test_what_is_public_has_a_docstring_and_types(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            inside_function = node.name in {"forward", "backward", "hook", "rule", "work", "flush"}
            assert ast.get_docstring(node) or inside_function or _is_nested(path, node), f"{path.name}: {node.name}"


def _is_nested(path: Path, wanted: ast.AST) -> bool:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    inner = [node for outer in functions for node in ast.walk(outer) if node is not outer]
    return any(getattr(node, "name", None) == wanted.name for node in inner)


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


def test_conda_and_pip_have_the_same_versions() -> None:
    pins = constraints()
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[A-Za-z0-9_.-]+", item)[0].lower().replace("_", "-") for item in wanted}
    environment = yaml.safe_load((ROOT / "envs" / "purelens.yaml").read_text())
    packages = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    found = dict(item.lower().replace("_", "-").split("==") for item in packages)
    assert set(found) == names
    for name, version in found.items():
        assert version in pins[name], name
    assert {"torch", "snakemake", "pytest"} <= set(pins)
    assert not any("+" in version for versions in pins.values() for version in versions)


def test_snakefile_is_a_table_of_contents() -> None:
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 64


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "CHANGELOG.md", "README.md"])
def test_files_of_a_release(name: str) -> None:
    assert (ROOT / name).stat().st_size > 200
