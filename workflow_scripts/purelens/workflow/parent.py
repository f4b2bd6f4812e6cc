"""End a job when the run that started it is gone: killed with -9, Snakemake cannot stop its jobs."""

import os
import socket
import threading
import time
from collections.abc import Callable

RUN = "PURELENS_RUN"
"""Environment variable with the machine and the process of the run, for its jobs."""

SECONDS = 1.0


def announce_run(checkout: str) -> None:
    """Tell the jobs that this process will start which run they belong to, and whose code they are to import.

    The checkout of the Snakefile comes first: an environment may have another one installed.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", checkout)]
    os.environ["PYTHONPATH"] = os.pathsep.join([checkout, *others])
    os.environ[RUN] = f"{socket.gethostname()} {os.getpid()}"


def end_with_the_run(end: Callable[[str], object], seconds: float = SECONDS) -> None:
    """Watch the run from a thread, and end this process when it is gone.

    A job of a cluster is not watched: the scheduler stops it, and it may outlive the run.

    Parameters
    ----------
    end
        Ends the process; takes the message.
    seconds
        Time between two looks.
    """
    machine, _, process = os.environ.get(RUN, "").partition(" ")
    if machine != socket.gethostname() or not process or "SLURM_JOB_ID" in os.environ:
        return

    def watch() -> None:
        while _is_alive(int(process)):
            time.sleep(seconds)
        end("the run that started this job is gone; the same command resumes the work")

    threading.Thread(target=watch, name="watch of the run", daemon=True).start()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user, but there
        return True
    return True
