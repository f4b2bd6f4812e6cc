"""The project's own rules: thin scripts, one-way imports, sizes, pins."""

import ast
import re
import subprocess
import sys
import tomllib
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


BOTTOM = {
    "errors",
    "config",
    "config_base",
    "config_bench",
    "config_explain",
    "config_lens",
    "config_report",
    "paths",
    "schemas",
    "artifacts",
    "digests",
    "definitions",
    "code_digests",
    "progress",
    "images",
    "dataset",
    "device",
    "vision",
}
BOTTOM |= {"models", "layers", "topk", "pairs", "lrp", "boxes", "clustering", "representations", "statistics", "tables"}
BOTTOM |= {
    "embedders",
    "files",
    "provenance",
    "resumable",
    "shards",
    "neurons",
    "seeding",
    "memory",
    "split",
    "vocabulary",
}
STAGES = {"model", "gather", "activations", "relevances", "patches", "embeddings", "virtual_neurons"}
EVALUATION = {"interpretability", "alignment", "explanations", "lens"}
TOP = {
    "freshness",
    "estimates",
    "plan",
    "verify",
    "__main__",
    "style",
    "neuron_figures",
    "layer_figures",
    "projections",
    "report",
    "inspection",
    "checks",
    "config_reference",
    "job",
    "world",
    "bench",
    "bench_figures",
}


def test_imports_go_one_way() -> None:
    layers = [BOTTOM, STAGES, EVALUATION, TOP]
    level = {name: number for number, names in enumerate(layers) for name in names}
    for path in MODULES:
        name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        if path.name == "__init__.py":
            continue
        here = level[name.split(".")[0]]
        for imported in imported_modules(path):
            there = level[imported.split(".")[0]]
            same_package = "." in name and imported.split(".")[0] == name.split(".")[0]
            allowed = same_package or (there <= here if here in (0, 3) else there < here)
            assert allowed, f"{name} imports {imported}"


def test_stages_without_a_gpu_do_not_import_torch() -> None:
    modules = [
        "dataset",
        "gather",
        "freshness",
        "virtual_neurons",
        "interpretability",
        "alignment",
        "neuron_figures",
        "layer_figures",
        "projections",
        "explanations.explain",
        "explanations.simulate",
        "report.pages",
        "report.explorer",
    ]
    modules += ["world.world_scenes", "config", "paths", "digests", "checks"]
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
