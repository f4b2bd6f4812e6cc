"""The architecture: imports go down, paths are known in one place, tests mirror the library, docs name what is there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from helpers import ROOT
from purelens.storage.paths import PATH_TEMPLATES
from purelens.workflow.estimates import USES_TORCH

PACKAGE = ROOT / "workflow_scripts" / "purelens"
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}
UNIT_TESTS = sorted((ROOT / "tests" / "unit").glob("*/test_*.py"))
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def imported(path: Path, nested: bool = True) -> set[str]:
    """Modules of the package that a module imports: anywhere, or only where it is imported itself."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "purelens":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("purelens.")
                names.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return names - {""}


def packages_in_order() -> dict[str, int]:
    """The rank of each package: the row in which ``docs/architecture.md`` lists it."""
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Packages")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.M)
    return {name: rank for rank, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def test_imports_go_down_the_list_of_packages() -> None:
    rank = packages_in_order()
    for module, path in MODULES.items():
        home = module.split(".")[0]
        for other in (name.split(".")[0] for name in imported(path)):
            assert other == home or rank[other] < rank[home], f"{module} imports {other}"
    assert set(rank) == {module.split(".")[0] for module in MODULES}


def test_no_modules_import_each_other() -> None:
    assert list(TopologicalSorter({name: imported(path) for name, path in MODULES.items()}).static_order())


def libraries_of(module: str, seen: set[str]) -> set[str]:
    """Libraries that are imported with a module."""
    seen.add(module)
    tree = ast.parse(MODULES[module].read_text())
    names = {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
    for other in imported(MODULES[module], nested=False) & MODULES.keys() - seen:
        names |= libraries_of(other, seen)
    return names


def test_torch_is_imported_by_the_rules_that_ask_for_its_memory() -> None:
    using = set()
    for script in (ROOT / "workflow_scripts").glob("*.py"):
        modules = imported(script)
        if any("torch" in libraries_of(module, set()) for module in modules):
            using.add(script.stem)
    assert using - {"comparisons"} == set(USES_TORCH)  # the benchmark asks for its memory itself


def test_modules_without_torch_do_not_import_it() -> None:
    """What the last test reads from the source, of a few modules, in a process."""
    modules = ["circuits.virtual_neurons", "explanations.explain", "explanations.simulate", "figures.neuron_figures"]
    modules += ["report.pages", "report.lens_pages", "report.explorer", "reruns.staleness", "workflow.study"]
    imports = "; ".join(f"import purelens.{module}" for module in modules)
    code = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "workflow_scripts", check=True)


def test_only_the_input_functions_know_snakemake() -> None:
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        knows = any(name.split(".")[0] == "snakemake" for name in names)
        assert not knows or module == "workflow.inputs", module


def texts(path: Path) -> list[str]:
    """Constant texts of a module, but docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [node.value for node in constants if isinstance(node.value, str)]


def joined_names(tree: ast.AST) -> Iterator[str]:
    """Names that are appended to paths, ``folder / "name"``, but to those of the library's own files."""
    for node in ast.walk(tree):
        joins = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant)
        if joins and "__file__" not in ast.unparse(node.left):  # type: ignore[attr-defined]
            yield str(node.right.value)  # type: ignore[attr-defined]


def test_only_storage_paths_knows_paths_of_results() -> None:
    """No other module spells a folder of results, neither in a text nor as a part of a path."""
    folders = {part for template in PATH_TEMPLATES.values() for part in template.split("/")[:-1] if "{" not in part}
    folders |= {"logs", "benchmarks", "shards"}
    tables = {Path(template).name for template in PATH_TEMPLATES.values() if "{" not in Path(template).name}
    for module, path in MODULES.items():
        # the benchmark works in a folder of its own
        if module == "storage.paths" or module.startswith("bench."):
            continue
        for text in (text for text in texts(path) if " " not in text):
            assert "/" not in text or not folders & set(text.split("/")[:-1]), f"{module}: {text}"
        for name in joined_names(ast.parse(path.read_text())):
            assert not (folders | tables) & set(name.split("/")), f"{module}: {name}"


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_tests_mirror_the_library(path: Path) -> None:
    assert f"{path.parent.name}.{path.stem.removeprefix('test_')}" in MODULES


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_what_is_there(path: Path) -> None:
    text = path.read_text()
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (path.parent / link).exists(), link
    for name in re.findall(r"`((?:[\w.]+/)+\w+\.(?:py|smk|md|yaml|csv|json))(?=[`:])", text):
        if "sparsity" not in name and not name.startswith(("results/", "path/")):  # the stage that the example adds
            assert (ROOT / name).exists() or (PACKAGE / name).exists(), name


def test_the_drawing_of_the_packages_is_true() -> None:
    drawing = (ROOT / "docs" / "architecture.md").read_text().partition("```mermaid")[2].partition("```")[0]
    arrows = re.findall(r"^    (\w+)\S*(?: --> )(\w+)", re.sub(r"\[.*?\]", "", drawing), re.M)
    edges = {(m.split(".")[0], o.split(".")[0]) for m, path in MODULES.items() for o in imported(path)}
    assert len(arrows) > 15
    assert set(arrows) <= edges
    assert {name for arrow in arrows for name in arrow} | {"progress", "errors"} == set(packages_in_order())


def test_modules_of_the_rerun_mechanism_name_their_invariant() -> None:
    text = (ROOT / "docs" / "reruns.md").read_text()
    sections = re.split(r"^## ", text, flags=re.M)[1:7]
    named = {name for section in sections for name in re.findall(r"`((?:reruns|storage|workflow)/\w+\.py)", section)}
    assert len(named) > 8
    for name in named:
        assert "docs/reruns.md" in (PACKAGE / name).read_text(), name


def test_there_is_one_way_to_read_an_artifact() -> None:
    """Who has no h5py cannot read what was not compared with its checksum."""
    users = {"data/sources.py", "lens/masks.py", "reruns/verify.py"}  # files of users, and their structure
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^import h5py|^from h5py", path.read_text(), re.M)
    }
    assert {path for path in found if not path.startswith("storage/")} == users
