"""Checking a results folder: damage, foreign files and dangling records are found, whole results are not complained of."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers import fingerprint_of
from purelens.__main__ import main
from purelens.reruns.verify import report, verify
from purelens.storage.artifacts import create
from purelens.storage.provenance import Provenance, write_record
from support.edited import edited


def artifact(path: Path, provenance: Provenance | None = None) -> Path:
    with create(path, "embeddings", provenance) as out:
        out.coordinate("neuron", 3)
        out.coordinate("reference", 4)
        out.coordinate("component", 5)
        out.variable("reference_id", data=np.arange(12).reshape(3, 4))
        out.variable("embedding", data=np.arange(60.0).reshape(3, 4, 5))
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """first.h5 -> it's second.h5 -> table.csv; a folder of figures."""
    folder = tmp_path / "results"
    first = artifact(folder / "first.h5")
    paths = {"first": "first.h5", "outside": "../../gone.png"}
    inputs = {"first": fingerprint_of(first), "outside": "x"}
    second = artifact(folder / "it's second.h5", Provenance(inputs=inputs, execution={"paths": paths}))
    (folder / "table.csv").write_text("a\n1\n")
    table = Provenance(inputs={"second": fingerprint_of(second)}, execution={"paths": {"second": "it's second.h5"}})
    write_record(folder / "table.csv", table)
    (folder / "figures").mkdir()
    (folder / "figures" / "a.png").write_text("png")
    write_record(folder / "figures", Provenance())
    (folder / "logs").mkdir()
    (folder / "logs" / "a.log").write_text("log")
    return folder


def problems_of(results: Path) -> dict[str, Any]:
    return {problem.path.name: problem.what for problem in verify(results)[1]}


def test_whole_results_have_no_problems(results: Path) -> None:
    assert verify(results) == (4, [])
    assert main(["verify", str(results)]) == 0


def test_results_may_be_moved(results: Path, tmp_path: Path) -> None:
    shutil.move(results, tmp_path / "moved")
    assert verify(tmp_path / "moved") == (4, [])


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_damage(results: Path, content: bytes | None) -> None:
    path = results / "it's second.h5"
    path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    assert "it is damaged" in problems_of(results)["it's second.h5"]


def test_each_flipped_byte_of_the_data_is_found(results: Path) -> None:
    path = results / "first.h5"
    whole = path.read_bytes()
    place = whole.index(np.arange(60.0, dtype="f4").tobytes())
    for offset in range(0, 240, 37):
        content = bytearray(whole)
        content[place + offset] ^= 4
        path.write_bytes(content)
        assert set(problems_of(results)) == {"first.h5"}


def test_a_foreign_artifact(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact(results / "first.h5", Provenance(code="other"))
    assert problems_of(results) == {
        "it's second.h5": f"{results}/first.h5 is not the file from which it was made",
    }
    assert main(["verify", str(results)]) == 1
    assert f"--force '{results}/it'\"'\"'s second.h5'" in capsys.readouterr().out


def test_an_edited_record(results: Path) -> None:
    with h5py.File(results / "first.h5", "r+") as file:
        file.attrs["params"] = '{"k": 3}'
    assert "its fingerprint is not that of its provenance record" in problems_of(results)["first.h5"]


def test_an_older_schema(results: Path) -> None:
    with h5py.File(results / "first.h5", "r+") as file:
        file.attrs["schema_version"] = 0
    assert "it is of version 0 of its schema" in problems_of(results)["first.h5"]


def test_edited_tables_and_figures(results: Path) -> None:
    (results / "table.csv").write_text("a\n2\n")
    (results / "figures" / "b.png").write_text("png")
    reported = problems_of(results)
    assert set(reported) == {"table.csv", "figures"}
    assert all(what == "its bytes are not those that were recorded" for what in reported.values())


def test_dangling_and_unknown_files(results: Path) -> None:
    (results / "first.h5").unlink()
    (results / "table.csv").unlink()
    (results / "mine.csv").write_text("a\n")
    (results / ".x.h5.part").write_text("")
    reported = problems_of(results)
    assert "dangling" in reported["it's second.h5"]
    assert "dangling" in reported["table.csv"]
    assert "left by an interrupted job" in reported[".x.h5.part"]
    assert reported["mine.csv"] == "it has no provenance record"
    text = report(*verify(results))
    assert ".part" not in text.split("--force")[1]


def test_json_and_a_missing_folder(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "table.csv").write_text("")
    assert main(["verify", "--json", str(results)]) == 1
    (problem,) = json.loads(capsys.readouterr().out)
    assert problem["path"] == f"{results}/table.csv"
    assert main(["verify", str(results / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_a_variable_that_is_missing(results: Path) -> None:
    with edited(results / "first.h5") as file:
        del file["embedding"], file["checksum/embedding"]
    assert problems_of(results)["first.h5"] == "it has no embedding"


def test_a_file_that_holds_hdf5_for_ever_is_told_of(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purelens.reruns.verify.SECONDS", 0.2)
    monkeypatch.setattr("purelens.reruns.verify._misfits", lambda file, schema: time.sleep(100))
    assert "its dimensions cannot be read" in problems_of(results)["first.h5"]


def test_a_file_that_ends_the_process_is_told_of(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purelens.reruns.verify._misfits", lambda file, schema: os._exit(139))
    assert "HDF5 crashed" in problems_of(results)["first.h5"]


def test_a_folder_is_rebuilt_by_its_record(results: Path) -> None:
    (results / "figures" / "a.png").write_text("other")
    n_files, problems = verify(results)
    assert report(n_files, problems).endswith(f"--force {results}/figures.provenance.json")
