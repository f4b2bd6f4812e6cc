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
