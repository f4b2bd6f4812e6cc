"""Arguments of a rule's function: by name, gathered into the dataclasses that it takes."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from purelens.errors import UserError
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution, Provenance
from purelens.workflow import job as job_module
from purelens.workflow.job import bind, input_paths


@dataclass(frozen=True)
class Options:
    size: int
    seed: int = 0


DEFAULT_OPTIONS = Options(1)


def job(**parts: dict[str, Any]) -> Any:
    return SimpleNamespace(**{"input": {}, "output": {}, "params": {}, **parts}, threads=3)


def stage(images_h5: str, folder: str, layer: LayerView, seed: int, options: Options = DEFAULT_OPTIONS) -> None: ...


def long_stage(out_h5: str, execution: Execution = DEFAULT_EXECUTION) -> None: ...


def test_the_code_of_another_checkout_is_refused(tmp_path: Path) -> None:
    """The records would name the code beside the scripts."""
    job_module._check_checkout(Path(job_module.__file__).parents[2])
    job_module._check_checkout(tmp_path)
    (tmp_path / "purelens").mkdir()
    with pytest.raises(UserError, match=f"imports the code of .*, but the workflow is that of {tmp_path}/purelens"):
        job_module._check_checkout(tmp_path)


def test_arguments_go_by_name() -> None:
    params = {"layer": {"name": "a", "channels": "last"}, "seed": 7, "size": 5, "code": "c", "watch": {"x": "y"}}
    arguments = bind(
        stage,
        job(
            input={"images_h5": "i.h5", "watch": ["w"], "changed": ["m"]},
            output={"folder": "figures.provenance.json"},
            params=params,
        ),
    )
    assert arguments == {
        "images_h5": "i.h5", "folder": "figures", "layer": LayerView("a", "last"), "seed": 7, "options": Options(5, 7),
    }  # fmt: skip


def test_how_a_job_computes_is_gathered() -> None:
    record = Provenance({"k": 1})
    params = {"device": "cpu", "shard": "2/4"}
    (execution,) = list(bind(long_stage, job(output={"out_h5": "o"}, params=params), record).values())[1:]
    assert execution == Execution(device="cpu", shard="2/4", threads=3, provenance=record)


@pytest.mark.parametrize("part", ["input", "output", "params"])
def test_what_the_function_does_not_take_is_an_error(part: str) -> None:
    with pytest.raises(TypeError, match="long_stage does not take other of its rule"):
        bind(long_stage, job(**{part: {"other": "x"}}))


def test_inputs_of_a_list_are_numbered() -> None:
    inputs = {"one": "a", "several": ["b", "c"], "single": ["d"], "none": [], "changed": ["m"]}
    assert input_paths(inputs) == {"one": "a", "several[0]": "b", "several[1]": "c", "single": "d"}
