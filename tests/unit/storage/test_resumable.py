"""Interrupted work is resumed, with the same bytes; what does not fit is begun again."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray

from helpers import ROOT, data_of
from purelens.errors import UserError
from purelens.storage import resumable
from purelens.storage.artifacts import Writer
from purelens.storage.provenance import Provenance
from purelens.storage.reading import read
from purelens.storage.resumable import Work, resume

VALUES = np.random.default_rng(0).normal(size=(12, 5)).astype("f4")


def layout(out: Writer) -> None:
    out.coordinate("neuron", np.array([2, 5, 9]))
    out.coordinate("reference", 4)
    out.coordinate("component", 5)
    out.variable("reference_id", data=np.arange(12).reshape(3, 4))
    out.rows("embedding")


def seen(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"seen": rows}


def work_on(work: Work, stop: int = 12) -> None:
    order = np.random.default_rng(1).permutation(12)
    work.define(layout)
    for start in range(work.done, stop, 2):
        work.write("embedding", order[start : start + 2], VALUES[order[start : start + 2]])
        work.checkpoint(start + 2, partial(seen, order[: start + 2]))


def make(path: Path, **facts: object) -> None:
    with resume(path, "embeddings", Provenance(**facts), "cpu") as work:  # type: ignore[arg-type]
        work_on(work)
        work.finish()


@pytest.fixture(autouse=True)
def _save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "SECONDS_BETWEEN_CHECKPOINTS", 0)


def test_rows_in_any_order(tmp_path: Path) -> None:
    make(tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    with read(tmp_path / "a.h5", "embeddings") as file:
        rows = file["embedding"]
        np.testing.assert_array_equal(rows[0:3].reshape(12, 5), VALUES)
        np.testing.assert_array_equal(rows[np.array([0, 2])], VALUES.reshape(3, 4, 5)[[0, 2]])
    with xarray.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as dataset:
        assert dataset["embedding"].dims == ("neuron", "reference", "component")
        assert dataset["embedding"].sel(neuron=5, reference=1, component=0) == VALUES[5, 0]


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    make(tmp_path / "whole.h5")
    with pytest.raises(RuntimeError), resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work_on(work, stop=8)
        raise RuntimeError("interrupted")
    assert not (tmp_path / "a.h5").exists()
    with resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        assert work.done == 8
        assert work.state["seen"].tolist() == np.random.default_rng(1).permutation(12)[:8].tolist()
        work_on(work)
        work.finish()
    assert data_of(tmp_path / "a.h5") == data_of(tmp_path / "whole.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "whole.h5"]


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {library!r}]
from purelens.storage import resumable
import test_resumable as t
resumable.SECONDS_BETWEEN_CHECKPOINTS = 0
with resumable.resume({path!r}, "embeddings", None, "cpu") as work:
    t.work_on(work, stop=10)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_goes_on_after_kill_9(tmp_path: Path) -> None:
    make(tmp_path / "whole.h5")
    names = {"library": f"{ROOT}/workflow_scripts", "path": f"{tmp_path}/a.h5"}
    script = KILLED.format(tests=f"{ROOT}/tests/unit/storage", **names)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tests"}
    done = subprocess.run([sys.executable, "-c", script], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    with resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        assert work.done == 10
        work_on(work)
        work.finish()
    assert data_of(tmp_path / "a.h5") == data_of(tmp_path / "whole.h5")


@pytest.mark.parametrize(
    ("provenance", "device"), [(Provenance(code="other"), "cpu"), (Provenance(params={"a": 1}), "cpu"), (None, "cuda")]
)
def test_what_was_made_from_something_else_is_begun_anew(
    tmp_path: Path, provenance: Provenance | None, device: str
) -> None:
    with pytest.raises(RuntimeError), resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work_on(work, stop=8)
        raise RuntimeError("interrupted")
    with resume(tmp_path / "a.h5", "embeddings", provenance, device) as work:
        assert work.done == 0
        assert not work.resumed


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda file: file.write_text("text")])
@pytest.mark.parametrize("name", [".a.h5.part", ".a.h5.checkpoint"])
def test_damaged_leftovers_are_begun_anew(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    with pytest.raises(RuntimeError), resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work_on(work, stop=8)
        raise RuntimeError("interrupted")
    damage(tmp_path / name)
    make(tmp_path / "a.h5")
    make(tmp_path / "whole.h5")
    assert data_of(tmp_path / "a.h5") == data_of(tmp_path / "whole.h5")


def interrupted(path: Path, stop: int = 8) -> tuple[Path, Path]:
    """Begin an artifact; returns what is left of it: the hidden file and the checkpoint."""
    with pytest.raises(RuntimeError), resume(path, "embeddings", None, "cpu") as work:
        work_on(work, stop)
        raise RuntimeError("interrupted")
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.checkpoint")


def assert_made_as_if_undisturbed(path: Path) -> None:
    make(path)
    make(path.with_name("whole.h5"))
    assert data_of(path) == data_of(path.with_name("whole.h5"))


@pytest.mark.parametrize("left", [0, 1], ids=["part", "checkpoint"])
def test_one_bit_anywhere_in_what_is_left_does_no_harm(tmp_path: Path, left: int) -> None:
    path = tmp_path / "a.h5"
    size = interrupted(path)[left].stat().st_size
    for place in range(7, size, max(1, size // 16)):
        file = interrupted(path)[left]
        data = bytearray(file.read_bytes())
        data[place] ^= 16
        file.write_bytes(data)
        make(path)
        with read(path, "embeddings") as whole:
            np.testing.assert_array_equal(whole["embedding"][...].reshape(12, 5), VALUES)
            whole.check()
        path.unlink()


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    _, checkpoint = interrupted(path, stop=4)
    interrupted(other, stop=10)[1].replace(checkpoint)  # of the same record, further than the file
    assert_made_as_if_undisturbed(path)
    assert "what an interrupted job left is damaged" in caplog.text


def test_a_disk_that_forgets_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(UserError, match="does not give back what was written"):
        with resume(path, "embeddings", None, "cpu") as work:
            work_on(work)
            part = path.with_name(".a.h5.part")
            data = bytearray(part.read_bytes())
            data[data.index(VALUES[5:7].tobytes())] ^= 1
            part.write_bytes(data)
            work.finish()
    assert not path.exists()


def test_a_mistake_of_the_users_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError), resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work_on(work, stop=8)
        raise UserError("NaN")
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    make(path)
    content = bytearray(path.read_bytes())
    place = content.index(VALUES[5:7].tobytes())
    content[place + 3] ^= 1
    path.write_bytes(content)
    with read(path, "embeddings") as file:
        file["embedding"][0:1]
    with pytest.raises(UserError, match=r"embedding: the checksums do not fit"), read(path, "embeddings") as file:
        file["embedding"][0:3]


def test_a_disk_too_small_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"), resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work.define(layout)


def test_bytes_written_are_those_of_the_data(tmp_path: Path) -> None:
    def big(out: Writer) -> None:
        out.coordinate("neuron", 64)
        out.coordinate("reference", 100)
        out.coordinate("component", 256)
        out.rows("embedding")

    before = _bytes_written()
    with resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work.define(big)
        for start in range(0, 6400, 64):
            work.write("embedding", np.arange(start, start + 64), np.ones((64, 256), dtype="f4"))
        work.finish()
    written = _bytes_written() - before
    assert 6400 * 1024 <= written <= 1.05 * 6400 * 1024


def _bytes_written() -> int:
    """Bytes this process has handed to write calls."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])


def test_an_interruption_while_it_is_finished_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "whole.h5")

    def stopped(*_: object) -> None:
        raise SystemExit(143)

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            with resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
                work_on(work)
                patch.setattr(resumable, "put_in_place", stopped)
                work.finish()
    with resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        assert work.done == 12
        work.finish()
    assert data_of(tmp_path / "a.h5") == data_of(tmp_path / "whole.h5")


def test_two_jobs_do_not_write_the_same_artifact(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), resume(tmp_path / "a.h5", "embeddings", None, "cpu") as work:
        work_on(work, stop=8)
        with pytest.raises(UserError, match="being written by another job"):
            with resume(tmp_path / "a.h5", "embeddings", None, "cpu"):
                pass
        raise RuntimeError("interrupted")


def test_values_too_large_for_16_bits_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with (
        pytest.raises(UserError, match="embedding: 70000 is too large to be stored in 16 bits; set storage: single"),
        resume(path, "embeddings", None, "cpu", "half") as work,
    ):
        work.define(layout)
        work.write("embedding", np.array([1]), np.full((1, 5), 7e4))
    assert not list(tmp_path.iterdir())


def test_half_precision(tmp_path: Path) -> None:
    with resume(tmp_path / "a.h5", "embeddings", None, "cpu", "half") as work:
        work_on(work)
        work.finish()
    with read(tmp_path / "a.h5", "embeddings") as file:
        assert file["embedding"].dtype == np.float16
        np.testing.assert_allclose(file["embedding"][0:3].reshape(12, 5), VALUES, rtol=2**-11, atol=2**-24)
