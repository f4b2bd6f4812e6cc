"""Rules: one script, one function of the same name, and exactly the inputs, outputs and params that it takes."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiled_rules import program
from helpers import ROOT
from purelens.reruns import code_digests
from purelens.reruns.definitions import Definition
from purelens.workflow.job import NOT_ARGUMENTS, bind

SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
RULES = sorted((ROOT / "rules").glob("*.smk"))


def keywords(call: ast.Call) -> set[str]:
    """Names of what a directive lists; the inputs are made by a function of that name."""
    names = {keyword.arg for keyword in call.keywords if keyword.arg}
    made = [k.value for k in call.keywords if k.arg is None and isinstance(k.value, ast.Call)]
    return names.union(*(keywords(inner) for inner in made))


def rules() -> dict[str, dict[str, set[str]]]:
    """Names of the inputs, outputs and params of every rule that runs a script."""
    bound: dict[str, dict[str, set[str]]] = {}
    for node in ast.parse(program()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("__rule_"):
            calls = [call for call in node.decorator_list if isinstance(call, ast.Call)]
            named = {call.func.attr: keywords(call) for call in calls if isinstance(call.func, ast.Attribute)}
            if "script" in named:
                bound[node.name.removeprefix("__rule_")] = named
    return bound


NAMES = rules()


def test_one_rule_one_script_of_the_same_name() -> None:
    assert sorted(NAMES) == [path.stem for path in SCRIPTS]
    for path in RULES:
        for rule, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.M):
            assert f'"../workflow_scripts/{rule}.py"' in body, rule
            made = () if rule == "plan" else ("input", "output", "benchmark", "threads", "resources")
            for directive in (*made, "params", "log", "conda", "message", "script"):
                assert f"    {directive}:" in body, (rule, directive)
            assert f'code=code_digest("{rule}")' in body, rule
            assert rule == "plan" or "        **inputs(" in body, rule


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_only_call_the_function_of_their_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    _, *imports, call = tree.body
    assert f"(rule {path.stem})" in (ast.get_docstring(tree) or "")
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    assert ast.unparse(call) == f"run({path.stem}, snakemake)"


@pytest.mark.parametrize("rule", NAMES)
def test_a_rule_gives_what_its_function_takes(rule: str) -> None:
    match = re.search(
        rf"from (purelens\.[\w.]+) import {rule}$", (ROOT / f"workflow_scripts/{rule}.py").read_text(), re.M
    )
    assert match
    function = getattr(importlib.import_module(match[1]), rule)
    params: dict[str, Any] = dict.fromkeys(NAMES[rule]["params"], 1)
    layer_is_a_view = "layer" in params and "LayerView" in str(inspect.signature(function).parameters.get("layer"))
    if layer_is_a_view:
        params["layer"] = {"name": "l", "channels": "auto"}
    job = SimpleNamespace(
        input=dict.fromkeys(NAMES[rule].get("input", set()), "in"),
        output=dict.fromkeys(NAMES[rule].get("output", set()), "out"),
        params=params,
        threads=1,
    )
    arguments = bind(function, job)
    inspect.signature(function).bind(**arguments)
    assert not set(NOT_ARGUMENTS) & arguments.keys()


def test_paths_that_the_explorer_reads_are_params_of_its_rule() -> None:
    assert {"benchmarks_folder", "ratios_csv"} <= NAMES["explorer"]["params"]
    assert '"ratios.csv": file_digest(path("bench_ratios"))' in body_of("explorer")


BUNDLED = {
    path.name: path.relative_to(ROOT / "workflow_scripts").as_posix()
    for path in (ROOT / "workflow_scripts").rglob("*")
    if path.suffix in {".html", ".js", ".css", ".json"} and "egg-info" not in str(path)
}


def body_of(rule: str) -> str:
    (body,) = re.findall(rf"^rule {rule}:\n((?:    .*\n|\n)+)", "".join(p.read_text() for p in RULES), re.M)
    return str(body)


def test_files_beside_the_code_are_watched_by_the_rules_that_read_them() -> None:
    """Code that names a file, such as a template, is reached only by rules that watch the file."""
    readers: dict[str, str] = {}
    package = code_digests._digests().package
    for rule in NAMES:
        tokens = {token for definition in code_digests.reached_by(rule) for token in package.tokens(definition)}
        read = {path for name, path in BUNDLED.items() if repr(name) in tokens}
        assert read == {path for path in BUNDLED.values() if f'"{path}"' in body_of(rule)}, rule
        readers |= dict.fromkeys(read, rule)
    assert set(readers) == set(BUNDLED.values())


def test_rules_that_load_an_embedding_model_watch_its_files() -> None:
    """A changed checkpoint or model config makes stale what the model computed."""
    package = code_digests._digests().package
    loader = package.resolve(Definition("load_embedder", "networks.embedders"))
    for rule in NAMES:
        if loader in code_digests.reached_by(rule):
            assert re.search(
                "watch=(study.embedder_watch|lens.attack_watch|lambda)", body_of(rule).partition("params:")[2]
            ), rule
