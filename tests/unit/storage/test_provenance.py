"""Provenance records, fingerprints, and inputs that do not belong together."""

from pathlib import Path

import pytest

from helpers import fingerprint_of
from purelens.errors import UserError
from purelens.storage.artifacts import create
from purelens.storage.provenance import (
    Provenance,
    check_lineage,
    content_digest,
    provenance_of,
    read_record,
    record_path,
    write_record,
)


def artifact(path: Path, **facts: object) -> Path:
    with create(path, "dataset", Provenance(**facts)) as out:  # type: ignore[arg-type]
        out.coordinate("class", 1)
        out.variable("class_name", data=["a"])
    return path


def test_the_fingerprint_depends_on_what_a_file_is_made_from() -> None:
    made = [{}, {"params": {"a": 1}}, {"code": "x"}, {"inputs": {"i": "1"}}]
    assert len({Provenance(**facts).fingerprint for facts in made}) == len(made)  # type: ignore[arg-type]


def test_execution_parameters_do_not_count() -> None:
    params = {"size": (3, 4), "code": "x"}
    one = provenance_of({**params, "device": "cpu", "batch_size": 4, "shard": "1/2"}, {})
    other = provenance_of({**params, "device": "cuda", "batch_size": None, "shard": "2/2"}, {})
    assert one.fingerprint == other.fingerprint
    assert one.execution["shard"] == "1/2"
    assert one.params == {"size": [3, 4]}


def test_records_of_artifacts_tables_and_folders(tmp_path: Path) -> None:
    provenance = Provenance({"k": 1}, "code", {"a": "b"})
    artifact(tmp_path / "a.h5", params={"k": 1}, code="code", inputs={"a": "b"})
    (tmp_path / "t.csv").write_text("x")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "1.png").write_text("y")
    for name in ("t.csv", "figures"):
        write_record(tmp_path / name, provenance)
    for name in ("a.h5", "t.csv", "figures"):
        record = read_record(tmp_path / name)
        assert record is not None
        assert record["fingerprint"] == provenance.fingerprint == fingerprint_of(tmp_path / name)
        assert (record["params"], record["code"], record["inputs"]) == ({"k": 1}, "code", {"a": "b"})
    before = content_digest(tmp_path / "figures")
    (tmp_path / "figures" / ".hidden").write_text("z")
    assert content_digest(tmp_path / "figures") == before
    (tmp_path / "figures" / "2.png").write_text("z")
    assert content_digest(tmp_path / "figures") != before


@pytest.mark.parametrize("content", [b"", b"text", b"[1]", b"{}"])
def test_a_file_without_a_record_is_identified_by_its_bytes(tmp_path: Path, content: bytes) -> None:
    for name in ("a.h5", "t.csv"):
        (tmp_path / name).write_bytes(content)
        record_path(tmp_path / "t.csv").write_bytes(content)
        assert read_record(tmp_path / name) is None
        assert fingerprint_of(tmp_path / name) == content_digest(tmp_path / name)


def test_inputs_that_were_not_made_from_one_another_are_refused(tmp_path: Path) -> None:
    images = artifact(tmp_path / "images.h5", params={"n": 1})
    top = artifact(tmp_path / "top.h5", inputs={"images_h5": fingerprint_of(images), "watch": "x"})
    inputs = {"images_h5": str(images), "top_h5": str(top), "watch": str(images)}
    check_lineage(inputs)
    artifact(images, params={"n": 2})
    with pytest.raises(UserError, match=r"top.h5 was made from another .*images.h5 .*--force .*top.h5"):
        check_lineage(inputs)


def test_inputs_with_other_bytes_than_recorded_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("a")
    write_record(tmp_path / "w.safetensors", Provenance())
    check_lineage({"weights": f"{tmp_path}/w.safetensors"})
    (tmp_path / "w.safetensors").write_text("b")
    with pytest.raises(UserError, match="w.safetensors has other bytes"):
        check_lineage({"weights": f"{tmp_path}/w.safetensors"})
