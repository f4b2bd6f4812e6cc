"""A job ends when its run is gone, and only then."""

import os
import socket
import subprocess
import threading

import pytest

from purelens.workflow.parent import RUN, announce_run, end_with_the_run


def ended(seconds: float) -> list[str]:
    messages: list[str] = []
    done = threading.Event()

    def end(message: str) -> None:
        messages.append(message)
        done.set()

    end_with_the_run(end, 0.02)
    done.wait(seconds)
    return messages


def test_a_job_outlives_neither_its_run_nor_ends_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    run = subprocess.Popen(["sleep", "60"])
    monkeypatch.setenv(RUN, f"{socket.gethostname()} {run.pid}")
    assert ended(0.3) == []
    run.kill()
    run.wait()
    assert ended(10) == ["the run that started this job is gone; the same command resumes the work"]


def test_runs_that_cannot_be_seen_are_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for value in ("", f"another-machine {gone.pid}", "nonsense"):
        monkeypatch.setenv(RUN, value)
        assert ended(0.2) == []
    monkeypatch.setenv(RUN, f"{socket.gethostname()} {gone.pid}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert ended(0.2) == []


def test_a_run_announces_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN, "")
    monkeypatch.setenv("PYTHONPATH", "/other")
    announce_run("/checkout")
    announce_run("/checkout")
    assert os.environ[RUN] == f"{socket.gethostname()} {os.getpid()}"
    assert os.environ["PYTHONPATH"] == f"/checkout{os.pathsep}/other"
