"""Open HDF5 files, of this program and of others."""

import errno
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from purelens.errors import UserError

UNREADABLE = (OSError, RuntimeError, ValueError, KeyError)
"""What h5py raises for bytes that it cannot make sense of, and for errors of the system (see `system_error`)."""


def open_hdf5(path: str | Path) -> h5py.File:
    """Open an HDF5 file for reading, without a lock.

    A lock could only fail: artifacts are replaced as a whole and never written to where they are, and some file systems know
    no locks.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    h5py.File
        The open file.

    Raises
    ------
    UserError
        If another program has it open for writing. That is not damage: nothing has to be made again.
    OSError
        If it is missing or damaged.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        # HDF5 marks a file that is open for writing inside the file; a program that crashed leaves the mark
        if "already open for write" not in str(error):
            raise
        raise UserError(
            f"{path} is open for writing in another program; close it there (after a crash of that program: h5clear -s {path})"
        ) from None


class PatientFile(io.FileIO):
    """A file that remembers the first error of the system instead of telling HDF5.

    HDF5 ends the process when it cannot write, at once or when the file is closed, as on a full disk. What it writes after an
    error goes nowhere; who writes the file asks with `check`, and removes what there is.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of the data."""
        view = memoryview(data).cast("B")
        size = len(view)
        with self._remembered():
            while view and self.error is None:
                view = view[super().write(view) :]
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size."""
        with self._remembered():
            if self.error is None:
                super().truncate(size)
        return size or 0

    def readinto(self, buffer: Any, /) -> int:
        """Read; zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        n_read = super().readinto(view)
        view[n_read:] = bytes(len(view) - n_read)
        return len(view)

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error

    def check(self, name: str) -> None:
        """Raise the error, with a name for the file."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, name)


@contextmanager
def new_hdf5(path: str | Path, name: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Write a new HDF5 file.

    Parameters
    ----------
    path
        The file.
    name
        How it is called in an error.

    Yields
    ------
    file : h5py.File
        The open file.
    check : callable
        Raises the error of the system if something could not be written, as is done at the end in any case.

    Raises
    ------
    OSError
        If the disk is full, or fails.
    """
    with PatientFile(path, "w+") as target:
        try:
            with h5py.File(target, "w", libver="latest") as file:
                yield file, partial(target.check, str(name))
        finally:
            target.check(str(name))


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Find a dataset of a file that another program wrote; None if there is none of that name.

    Raises
    ------
    UserError
        If its numbers are in other files (external links, external storage, virtual datasets): those are not known by their
        bytes, and a file from a stranger could name any file of this machine.
    """
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        return None
    if item.is_virtual or item.external or item.file.filename != file.filename:
        raise UserError(
            f"{file.filename}: {name} takes its numbers from other files; copy them into this one (h5repack does)"
        )
    return item


def system_error(error: Exception) -> int | None:
    """Return the number of the system's error that h5py raised or mentions; None if it complains about the bytes."""
    number = error.errno if isinstance(error, OSError) else None
    mentioned = re.search(r"errno = (\d+)", str(error))
    number = int(mentioned[1]) if number is None and mentioned else number
    return None if number in (None, 0, errno.EINVAL) else number
