"""One job at a time writes a file."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from purelens.errors import UserError
from purelens.storage.files import remove_leftovers
from purelens.storage.locks import is_being_written, writing

HOLD = """
import sys
from purelens.storage.locks import writing
with writing([sys.argv[1]]):
    print("holds it", flush=True)
    sys.stdin.read()
"""


def start(path: Path) -> subprocess.Popen[str]:
    """Another process that writes a file."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds it\n"
    return process


def test_a_second_job_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    link = tmp_path / "link"
    (tmp_path / "results").mkdir()
    link.symlink_to(tmp_path / "results")
    process = start(tmp_path / "results/a.h5")
    with pytest.raises(UserError, match=rf"a.h5 is being written by another job \(process {process.pid} on"):
        with writing([link / "a.h5"]):
            pass
    assert is_being_written(link / "a.h5")
    with writing([tmp_path / "results/b.h5"]):
        pass
    process.communicate("")
    with writing([tmp_path / "results/a.h5"]):
        pass
    assert [path.name for path in (tmp_path / "results").iterdir()] == []


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path / "a.h5")
    process.kill()
    process.communicate()
    assert not is_being_written(tmp_path / "a.h5")
    with writing([tmp_path / "a.h5"]):
        assert is_being_written(tmp_path / "a.h5")


def test_a_job_that_is_refused_gives_the_locks_back_that_it_had(tmp_path: Path) -> None:
    process = start(tmp_path / "b.h5")
    with pytest.raises(UserError), writing([tmp_path / "a.h5", tmp_path / "b.h5"]):
        pass
    assert not is_being_written(tmp_path / "a.h5")
    process.communicate("")


def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("purelens.storage.locks.fcntl.flock", no_locks)
    with writing([tmp_path / "a.h5"]):
        assert "this file system has no locks" in caplog.text


def test_names_that_begin_alike_keep_their_locks(tmp_path: Path) -> None:
    with writing([tmp_path / "clip.h5.x.h5"]):
        remove_leftovers(tmp_path / "clip.h5")
        assert is_being_written(tmp_path / "clip.h5.x.h5")
