"""What is stale and why: a small graph, one thing changed at a time."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import h5py
import pytest

from purelens.errors import UserError
from purelens.reruns.digests import Digests
from purelens.reruns.staleness import Freshness, Marks, Step, check_not_in_the_future, planned, sweep
from purelens.storage.artifacts import create
from purelens.storage.files import LOCK, unfinished_path
from purelens.storage.locks import writing
from purelens.storage.provenance import check_lineage, provenance_of, read_record, write_record
from support.edited import edited


class Study:
    """weights (a source) -> first.h5 -> middle.h5 -> last.csv."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n_classes = folder, 1
        self.params: dict[str, dict[str, Any]] = {"first": {"size": 3}, "middle": {"k": 2}, "last": {"n": 5}}
        self.path("weights").write_text("w")
        for name in self.steps():
            self.make(name)

    def path(self, name: str) -> Path:
        return self.folder / name

    def steps(self) -> dict[str, Step]:
        names = {"first.h5": ("weights",), "middle.h5": ("first.h5",), "last.csv": ("middle.h5", "first.h5")}
        return {
            name: Step(
                name.split(".")[0],
                [str(self.path(name))],
                {source.split(".")[0]: str(self.path(source)) for source in sources},
                {**self.params[name.split(".")[0]], "code": "c"},
            )
            for name, sources in names.items()
        }

    def find_step(self, path: str) -> Step | None:
        return self.steps().get(Path(path).name)

    def freshness(self) -> Freshness:
        return Freshness(self.find_step, Digests())

    def make(self, name: str) -> None:
        step = self.steps()[name]
        fresh = self.freshness()
        fingerprints = {key: fresh.fingerprint(path) for key, path in step.inputs.items()}
        provenance = provenance_of(step.params, fingerprints, contents=check_lineage(step.inputs).contents)
        if name.endswith(".h5"):
            with create(step.outputs[0], "dataset", provenance) as out:
                out.coordinate("class", self.n_classes)
        else:
            self.path(name).write_text("t")
            write_record(step.outputs[0], provenance)

    def stale(self) -> list[str]:
        steps = planned(self.freshness(), self.find_step, [str(self.path("last.csv"))])
        return [step.rule for step in steps]

    def changes(self, name: str) -> list[str]:
        return self.freshness().changes(str(self.path(name)))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_nothing_is_stale_at_first(study: Study) -> None:
    assert study.stale() == []


def test_a_param_makes_its_step_and_those_after_it_stale(study: Study) -> None:
    study.params["middle"]["k"] = 3
    assert study.stale() == ["middle", "last"]
    assert study.changes("middle.h5") == ["k"]
    assert study.changes("last.csv") == ["middle"]
    assert study.changes("first.h5") == []


def test_a_source_with_other_bytes(study: Study) -> None:
    study.path("weights").write_text("v")
    assert study.stale() == ["first", "middle", "last"]
    assert study.changes("first.h5") == ["weights"]


def test_dates_do_not_count(study: Study) -> None:
    for number, name in enumerate(("last.csv", "middle.h5", "weights", "first.h5")):
        os.utime(study.path(name), (number, number))
    assert study.stale() == []


def test_what_was_made_from_other_data_of_the_same_recipe_is_stale(study: Study) -> None:
    """As when a result was made from a damaged artifact, and that is made again."""
    study.n_classes = 2
    study.make("first.h5")
    assert study.changes("first.h5") == []
    assert study.changes("middle.h5") == ["first"]
    assert study.stale() == ["middle", "last"]
    study.n_classes = 1
    study.make("first.h5")
    assert study.stale() == []


def test_an_artifact_that_is_edited_is_stale(study: Study) -> None:
    """HDF5 computes its own checksums again when a program edits a file."""
    path, later = study.path("first.h5"), time.time() + 60
    with h5py.File(path, "r+") as file:
        file["class"][0] = 7
    os.utime(path, (later, later))
    assert study.changes("first.h5") == ["unreadable"]
    assert study.stale() == ["first", "middle", "last"]


def test_an_artifact_that_is_edited_with_its_checksums_makes_stale_what_is_made_from_it(study: Study) -> None:
    with edited(study.path("first.h5")) as file:
        file["class"][0] = 7
    assert study.changes("middle.h5") == ["first"]


def test_an_error_of_the_system_makes_nothing_stale(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: str) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr("purelens.storage.provenance.open_hdf5", fails)
    with pytest.raises(OSError, match="Too many open files"):
        study.changes("middle.h5")


def test_what_a_job_is_writing_is_not_swept_away(study: Study) -> None:
    path, part = study.path("first.h5"), unfinished_path(study.path("first.h5"))
    with writing([path]):
        part.write_text("half")
        sweep(study.freshness(), str(study.folder))
        assert part.exists()
    unfinished_path(path, LOCK).write_text("of a job that was killed")
    sweep(study.freshness(), str(study.folder))
    assert [one.name for one in study.folder.glob(".*")] == []


def test_what_is_missing_is_made_if_something_needs_it(study: Study) -> None:
    study.path("middle.h5").unlink()
    assert study.stale() == []
    study.params["last"]["n"] = 6
    assert study.stale() == ["middle", "last"]
    study.path("last.csv").unlink()
    assert study.stale() == ["middle", "last"]


def test_what_is_made_from_a_job_that_runs_is_made_again(study: Study) -> None:
    """As Snakemake does where a target is missing that others are made from."""
    study.path("middle.h5").unlink()
    targets = [str(study.path("last.csv")), str(study.path("middle.h5"))]
    assert [step.rule for step in planned(study.freshness(), study.find_step, targets)] == ["middle", "last"]


@pytest.mark.parametrize("damage", [b"", b"text", None])
def test_damaged_and_foreign_files_are_made_anew(study: Study, damage: bytes | None) -> None:
    path = study.path("middle.h5")
    path.write_bytes(study.path("first.h5").read_bytes() if damage is None else damage)
    assert study.stale() == ["middle", "last"]


def test_an_edited_table_is_made_anew(study: Study) -> None:
    study.path("last.csv").write_text("edited")
    assert study.stale() == ["last"]
    assert study.changes("last.csv") == ["unreadable"]


def test_what_is_made_again_upstream_is_a_reason(study: Study) -> None:
    study.path("middle.h5").write_text("edited")
    assert study.changes("last.csv") == ["middle"]
    study.path("middle.h5").unlink()
    assert study.changes("last.csv") == []


def test_a_forced_step_and_those_after_it_run(study: Study) -> None:
    freshness = Freshness(study.find_step, Digests(), lambda step: step.rule == "first")
    assert freshness.changes(str(study.path("first.h5"))) == ["forced"]
    assert freshness.changes(str(study.path("middle.h5"))) == ["first"]
    assert freshness.changes(str(study.path("last.csv"))) == ["first", "middle"]


def test_a_file_is_fresh_only_if_it_is_there(study: Study) -> None:
    assert study.freshness().is_fresh(str(study.path("middle.h5")))
    study.path("middle.h5").unlink()
    assert not study.freshness().is_fresh(str(study.path("middle.h5")))


def test_reasons_are_keys_of_the_study_and_names_of_watched_files(study: Study) -> None:
    study.params["middle"] = {"k": 2, "embedder": {"size": 32, "source": "file"}, "watch": {"architecture": "a"}}
    study.make("middle.h5")
    study.params["middle"] = {"k": 2, "embedder": {"size": 64, "source": "file"}, "watch": {"architecture": "b"}}
    assert study.changes("middle.h5") == ["architecture", "embedder.size"]
    steps = {
        "a.h5": Step("a", ["a.h5"], {"watch[0]": str(study.path("weights")), "watch[1]": "none.csv"}, {}),
    }
    record = provenance_of({}, {"watch[0]": "x", "watch[1]": "missing"})
    with create(study.path("a.h5"), "dataset", record) as out:
        out.coordinate("class", 1)
    steps[str(study.path("a.h5"))] = Step("a", [str(study.path("a.h5"))], steps["a.h5"].inputs, {})
    assert Freshness(steps.get, Digests()).changes(str(study.path("a.h5"))) == ["weights"]


def test_marks_are_newer_than_what_is_stale_and_name_the_reason(study: Study) -> None:
    path = study.path("middle.h5")
    assert Marks(study.freshness(), study.folder / "marks").of(str(path)) == []
    study.params["middle"]["k"] = 3
    (mark,) = Marks(study.freshness(), study.folder / "marks").of(str(path))
    assert mark.endswith("middle.h5/k")
    assert Path(mark).stat().st_mtime_ns > path.stat().st_mtime_ns
    before = Path(mark).stat().st_mtime_ns
    assert Marks(study.freshness(), study.folder / "marks").of(str(path)) == [mark]
    assert Path(mark).stat().st_mtime_ns == before


def test_a_gathered_artifact_has_the_fingerprint_of_the_whole(tmp_path: Path) -> None:
    steps = {
        "a.h5": Step("stage", ["a.h5"], {}, {"k": 1, "shard": "1/1"}),
        "p.h5": Step("stage", ["p.h5"], {}, {"k": 1, "shard": "1/2"}),
        "g.h5": Step("gather", ["g.h5"], {"shards[0]": "p.h5"}, {"code": "other"}),
    }
    freshness = Freshness(steps.get, Digests())
    assert freshness.fingerprint("g.h5") == freshness.fingerprint("a.h5")


def test_a_record_survives_the_trip(study: Study) -> None:
    record = read_record(study.path("last.csv"))
    assert record is not None
    assert record["params"] == {"n": 5}


def test_a_mark_is_newer_than_a_file_dated_in_the_future(study: Study) -> None:
    path = study.path("middle.h5")
    os.utime(path, (4e9, 4e9))
    study.params["middle"]["k"] = 3
    (mark,) = Marks(study.freshness(), study.folder / "marks").of(str(path))
    assert Path(mark).stat().st_mtime_ns > path.stat().st_mtime_ns


def test_a_source_that_carries_a_record_is_identified_by_it(study: Study) -> None:
    other = study.path("other.h5")
    with create(other, "dataset", provenance_of({"x": 1}, {})) as out:
        out.coordinate("class", 1)
    record = read_record(other)
    assert record is not None
    assert Freshness(lambda _: None, Digests()).fingerprint(str(other)) == record["fingerprint"]


def test_leftovers_beside_fresh_artifacts_are_swept_away(study: Study) -> None:
    for name in (".middle.h5.part", ".middle.h5.checkpoint", ".first.h5.part", ".gone.h5.part"):
        study.path(name).write_text("")
    study.path("first.h5").unlink()
    sweep(study.freshness(), str(study.folder))
    assert sorted(path.name for path in study.folder.glob(".*")) == [".first.h5.part", ".gone.h5.part"]


def test_a_source_with_other_bytes_than_its_record_is_known_by_its_bytes(study: Study) -> None:
    other = study.path("weights.safetensors")
    other.write_text("first")
    write_record(other, provenance_of({"x": 1}, {}))
    before = Freshness(lambda _: None, Digests()).fingerprint(str(other))
    other.write_text("second")
    assert Freshness(lambda _: None, Digests()).fingerprint(str(other)) != before


def test_a_checkpoint_that_was_being_written_is_swept_away(study: Study) -> None:
    left = study.path(".middle.h5.checkpoint.part")
    left.write_text("")
    sweep(study.freshness(), str(study.folder))
    assert not left.exists()


def test_inputs_dated_in_the_future_are_refused(study: Study) -> None:
    paths = [str(study.path(name)) for name in ("weights", "first.h5", "none")]
    check_not_in_the_future(paths)
    os.utime(paths[1], (4e9, 4e9))
    with pytest.raises(UserError, match=r"first.h5 is dated in the future"):
        check_not_in_the_future(paths)


def test_marks_have_names_that_files_can_have(study: Study) -> None:
    study.params["middle"] = {"settings": {"a/b" * 100: 1}}
    study.make("middle.h5")
    study.params["middle"] = {"settings": {"a/b" * 100: 2}}
    (mark,) = Marks(study.freshness(), study.folder / "marks").of(str(study.path("middle.h5")))
    assert Path(mark).parent.name == "middle.h5"
