"""Let one job at a time write a file: two runs may have the same results folder, under two names or on two machines.

See invariant 4 (atomic replacement) in ``docs/reruns.md``. A lock is a hidden file beside the output, ``.name.lock``, locked
with ``flock``: it ends with the process, also after ``kill -9``, so no lock can stay behind.
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from purelens.errors import UserError
from purelens.storage.files import LOCK, unfinished_path

logger = logging.getLogger("purelens")

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Errors of file systems that have no locks."""


@contextmanager
def writing(paths: Iterable[str | Path]) -> Iterator[None]:
    """Hold the locks of some files or folders while a job writes them.

    Parameters
    ----------
    paths
        What the job writes.

    Raises
    ------
    UserError
        If another job is writing one of them.
    """
    with ExitStack() as stack:
        for path in sorted({Path(path) for path in paths}):
            stack.enter_context(_lock(path))
        yield


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = unfinished_path(path, LOCK)
    descriptor = _locked(lock, path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)  # before it is released: who waits for nothing finds nothing
        os.close(descriptor)


def _locked(lock: Path, path: Path) -> int:
    """Open and lock the lock file of a path."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace")
        take(descriptor, path, holder)
        with suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # its owner removed it between the opening and the locking


def take(descriptor: int, path: Path, holder: str = "") -> None:
    """Lock an open file for this process, and close it if that fails.

    Parameters
    ----------
    descriptor
        The open file.
    path
        What is to be written, for the message.
    holder
        Who has the lock, if somebody has it.

    Raises
    ------
    UserError
        If another process has the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        by = f"another job ({holder})" if holder else "another job"
        raise UserError(f"{path} is being written by {by}; wait for it to end") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(descriptor)
            raise
        logger.warning("%s: this file system has no locks; start no second run on these results", path)


def is_being_written(path: str | Path) -> bool:
    """Tell whether a job holds the lock of a file or folder."""
    try:
        descriptor = os.open(unfinished_path(Path(path), LOCK), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
