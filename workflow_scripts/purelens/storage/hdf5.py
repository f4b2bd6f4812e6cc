"""Open HDF5 files for reading."""

import errno
import re
from pathlib import Path

import h5py

from purelens.errors import UserError


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


def system_error(error: Exception) -> int | None:
    """Return the number of the system's error that h5py raised or mentions; None if it complains about the bytes."""
    number = error.errno if isinstance(error, OSError) else None
    mentioned = re.search(r"errno = (\d+)", str(error))
    number = int(mentioned[1]) if number is None and mentioned else number
    return None if number in (None, 0, errno.EINVAL) else number
