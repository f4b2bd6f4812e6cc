"""What the program remembers, and records beside results, with other values than it wrote: rebuilt in silence, or one line."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from purelens.errors import UserError
from purelens.reruns.digests import Digests
from purelens.reruns.verify import verify
from purelens.storage.files import read_sealed, write_sealed
from purelens.storage.provenance import check_lineage, read_record
from support.workplace import TINY, Workplace

GARBAGE: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a huge number": 10**400,
    "a text": "x",
    "a list": [],
    "nulls": {"a": None},
    "a list of lists": [[[]]],
    "numbers as keys": {"1": 2},
}
TEXTS = {
    **{name: json.dumps(value) for name, value in GARBAGE.items()},
    "no JSON": "{",
    "empty": "",
    "deep": "[" * 100_000 + "]" * 100_000,
    "not a number": '{"a": NaN}',
    "bytes that are no text": "\udcff",
}


@pytest.mark.parametrize("text", TEXTS)
def test_digests_that_are_remembered(tmp_path: Path, text: str) -> None:
    file, memory = tmp_path / "weights", tmp_path / "digests.json"
    file.write_text("w")
    right = Digests().of(file)
    memory.write_bytes(TEXTS[text].encode("utf-8", "surrogateescape"))
    assert Digests(memory).of(file) == right


@pytest.mark.parametrize("place", range(0, 400, 25))
def test_a_digit_of_a_digest_is_flipped(tmp_path: Path, place: int) -> None:
    file, memory = tmp_path / "weights", tmp_path / "digests.json"
    file.write_text("w")
    digests = Digests(memory)
    right = digests.of(file)
    digests.keep()
    data = bytearray(memory.read_bytes())
    data[place % len(data)] ^= 1
    memory.write_bytes(data)
    assert Digests(memory).of(file) == right


@pytest.mark.parametrize("text", TEXTS)
def test_results_of_checks_that_are_remembered(tmp_path: Path, text: str) -> None:
    path = tmp_path / "checks.json"
    write_sealed(path, {"layer3": {"n_neurons": 8}})
    assert read_sealed(path) == {"layer3": {"n_neurons": 8}}
    path.write_bytes(TEXTS[text].encode("utf-8", "surrogateescape"))
    assert read_sealed(path) is None


@pytest.fixture(scope="module")
def results(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and an artifact of finished results, whose records are damaged one at a time."""
    folder = tmp_path_factory.mktemp("state")
    for name in ("alignment.csv", "alignment.csv.provenance.json", "patches.h5"):
        shutil.copy(finished / "scenes/scene_cnn/layer3" / name, folder)
    return folder


def found(folder: Path, name: str) -> list[str]:
    """What verify says of a file, but that it is not beside what it was made from."""
    problems = [problem.what for problem in verify(folder)[1] if problem.path.name == name]
    return [what for what in problems if "dangling" not in what]


KEYS = ("params", "inputs", "fingerprint", "code", "content", "execution")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", GARBAGE)
def test_records_with_other_values(results: Path, key: str, value: str) -> None:
    folder = results
    path = folder / "alignment.csv.provenance.json"
    right = path.read_text()
    record = json.loads(right)
    path.write_text(json.dumps({**record, key: GARBAGE[value]}))
    try:
        told = read_record(folder / "alignment.csv")
        problems = found(folder, "alignment.csv")
    finally:
        path.write_text(right)
    assert told is None or isinstance(told[key], type(record[key]))
    # without a word of how it was computed a table is as good
    assert problems or key == "execution"


@pytest.mark.parametrize("text", TEXTS)
def test_records_that_are_none(results: Path, text: str) -> None:
    folder = results
    path = folder / "alignment.csv.provenance.json"
    right = path.read_bytes()
    path.write_bytes(TEXTS[text].encode("utf-8", "surrogateescape"))
    try:
        assert read_record(folder / "alignment.csv") is None
        problems = found(folder, "alignment.csv")
    finally:
        path.write_bytes(right)
    assert problems == ["it has no provenance record"]


@pytest.mark.parametrize("key", ["params", "inputs", "execution", "fingerprint", "code", "schema", "schema_version"])
@pytest.mark.parametrize("value", ["null", "a number", "a text", "a list", "nulls"])
def test_attributes_of_artifacts_with_other_values(results: Path, tmp_path: Path, key: str, value: str) -> None:
    path = shutil.copy(results / "patches.h5", tmp_path / "patches.h5")
    with h5py.File(path, "r+") as file:
        file.attrs[key] = json.dumps(GARBAGE[value])
    record = read_record(path)
    problems = found(tmp_path, "patches.h5")
    assert record is None or problems or key == "execution", (record, problems)


def test_a_run_with_all_of_it_damaged_finds_everything_fresh(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "results")
    workplace = Workplace(tmp_path)
    assert workplace.snakemake(TINY, "-n").jobs == {}
    for path in (tmp_path / ".snakemake/purelens").rglob("*.json"):
        path.write_text('{"a": null}')
    run = workplace.snakemake(TINY, "-n")
    assert run.jobs == {}
    assert "Traceback" not in run.text


@pytest.mark.parametrize("key", ["schema", "finished"])
@pytest.mark.parametrize("value", [["dataset", 1], 1e99, None, "x", []])
def test_a_record_cannot_switch_its_own_checks_off(results: Path, tmp_path: Path, key: str, value: Any) -> None:
    for name in ("alignment.csv", "alignment.csv.provenance.json"):
        shutil.copy(results / name, tmp_path)
    record = tmp_path / "alignment.csv.provenance.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), key: value}))
    (tmp_path / "alignment.csv").write_text("edited")
    with pytest.raises(UserError, match="has other bytes than those that were made"):
        check_lineage({"table": str(tmp_path / "alignment.csv")})


def test_a_record_without_a_word_of_how_is_none(results: Path, tmp_path: Path) -> None:
    record = json.loads((results / "alignment.csv.provenance.json").read_text())
    del record["execution"]
    (tmp_path / "a.csv.provenance.json").write_text(json.dumps(record))
    assert read_record(tmp_path / "a.csv") is None
    os.mkfifo(tmp_path / "b.csv.provenance.json")
    assert read_record(tmp_path / "b.csv") is None
