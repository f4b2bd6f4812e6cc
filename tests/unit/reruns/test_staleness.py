"""TODO reruns.staleness"""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from purelens.reruns.digests import Digests, source_digest
from purelens.reruns.staleness import Freshness, Marks, Step, planned, sweep
from purelens.storage.artifacts import create
from purelens.storage.provenance import provenance_of, read_record, write_record


class Study:
    """weights (a source) -> first.h5 -> middle.h5 -> last.csv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        provenance = provenance_of(step.params, {key: fresh.fingerprint(path) for key, path in step.inputs.items()})
        if name.endswith(".h5"):
            with create(step.outputs[0], "dataset", provenance) as out:
                out.coordinate("class", 1)
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


def test_what_is_missing_is_made_if_something_needs_it(study: Study) -> None:
    study.path("middle.h5").unlink()
    assert study.stale() == []
    study.params["last"]["n"] = 6
    assert study.stale() == ["middle", "last"]
    study.path("last.csv").unlink()
    assert study.stale() == ["middle", "last"]


@pytest.mark.parametrize("damage", [b"", b"text", None])
def test_damaged_and_foreign_files_are_made_anew(study: Study, damage: bytes | None) -> None:
    path = study.path("middle.h5")
    path.write_bytes(study.path("first.h5").read_bytes() if damage is None else damage)
    assert study.stale() == ["middle", "last"]


def test_an_edited_table_is_made_anew(study: Study) -> None:
    study.path("last.csv").write_text("edited")
    assert study.stale() == ["last"]
    assert study.changes("last.csv") == ["unreadable"]


def test_settling_puts_dates_in_order(study: Study) -> None:
    for number, name in enumerate(("last.csv", "middle.h5", "weights", "first.h5")):
        os.utime(study.path(name), (number, number))
    study.freshness().settle(str(study.path("last.csv")))
    dates = [study.path(name).stat().st_mtime for name in ("weights", "first.h5", "middle.h5", "last.csv")]
    assert dates == sorted(dates)


def test_settling_leaves_what_is_stale(study: Study) -> None:
    study.params["middle"]["k"] = 3
    os.utime(study.path("middle.h5"), (1, 1))
    study.freshness().settle(str(study.path("last.csv")))
    assert study.path("middle.h5").stat().st_mtime == 1


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


def test_a_gathered_artifact_is_identified_as_the_whole(tmp_path: Path) -> None:
    steps = {
        "a.h5": Step("stage", ["a.h5"], {}, {"k": 1, "shard": "1/1"}),
        "p.h5": Step("stage", ["p.h5"], {}, {"k": 1, "shard": "1/2"}),
        "g.h5": Step("gather", ["g.h5"], {"shards[0]": "p.h5"}, {"code": "other"}),
    }
    freshness = Freshness(steps.get, Digests())
    assert freshness.fingerprint("g.h5") == freshness.fingerprint("a.h5")


def test_sources_are_digested_by_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "x" / "a.png")
    (tmp_path / "t.csv").write_text("path\nx/a.png\n")
    sources = [tmp_path, tmp_path / "t.csv"]
    before = [source_digest(source, Digests()) for source in sources]
    os.utime(tmp_path / "x" / "a.png", (1, 1))
    assert [source_digest(source, Digests()) for source in sources] == before
    Image.new("RGB", (9, 9), "red").save(tmp_path / "x" / "a.png")
    after = [source_digest(source, Digests()) for source in sources]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert source_digest(tmp_path / "none", Digests()) is None
    (tmp_path / "t.csv").write_text("wrong\n")
    assert source_digest(tmp_path / "t.csv", Digests()) is None


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


def test_a_part_left_beside_what_is_fresh_is_not_marked(study: Study) -> None:
    whole, part = str(study.path("middle.h5")), str(study.path("last.csv"))
    study.params["last"]["k"] = 3
    marks = Marks(study.freshness(), study.folder / "marks")
    assert marks.of(part, whole) == []
    assert len(marks.of(part)) == 1


def test_progress_that_was_being_saved_is_swept_away(study: Study) -> None:
    left = study.path(".middle.h5.progress.part")
    left.write_text("")
    sweep(study.freshness(), str(study.folder))
    assert not left.exists()
