"""Read HDF5 artifacts. There is no other way to read one: everything is compared with its checksum on the way.

See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from purelens.errors import UserError
from purelens.storage.checksums import (
    CONTENT,
    block_bytes,
    block_checksums,
    checked_variables,
    content_of,
    dims_of,
    read_checksums,
    recorded_content,
)
from purelens.storage.hdf5 import UNREADABLE, open_hdf5, system_error
from purelens.storage.provenance import REBUILD, text
from purelens.storage.schemas import HALF, SCHEMAS, SINGLE

WINDOW_BYTES = 2**22

DAMAGED = "damaged"

Key = Any
"""An index as for a NumPy array, whose dimensions stay in their order; arrays of numbers in it are ascending."""


class Table:
    """A variable of an artifact. What is read from it is compared with its checksums.

    Parameters
    ----------
    artifact
        The artifact.
    name
        The variable.
    data
        Its dataset.
    sums
        Checksums over its leading dimensions; None for one without elements or without dimensions.
    """

    def __init__(self, artifact: "Artifact", name: str, data: h5py.Dataset, sums: np.ndarray | None) -> None:
        self._artifact, self._name, self._data, self._sums = artifact, name, data, sums

    def __len__(self) -> int:
        return len(self._data)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole variable."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        """Type in which it is stored."""
        return self._data.dtype

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return block_bytes(self._data, 0)

    @property
    def checksum_size(self) -> int:
        """Bytes of their checksums."""
        return 0 if self._sums is None else self._sums.nbytes

    @property
    def stored_size(self) -> int:
        """Bytes that they take in the file, with their checksums."""
        return int(self._data.id.get_storage_size()) + self.checksum_size

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of its dimensions."""
        return dims_of(self._data)

    def __getitem__(self, key: Key) -> np.ndarray:
        """Read a part; 16 bits become 32.

        Raises
        ------
        UserError
            If the bytes are not those that were written, with the command that rebuilds the artifact.
        """
        keys = _expanded(key, self._data.ndim)
        rank = 0 if self._sums is None else self._sums.ndim
        leading, rest = keys[:rank], keys[rank:]
        try:
            values = np.asarray(self._data[leading])
        except UNREADABLE as error:
            self._artifact.refuse(error)
        self._compare(values, leading)
        n_kept = sum(not isinstance(one, int) for one in leading)
        values = values[(slice(None),) * n_kept + rest]
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def _compare(self, values: np.ndarray, leading: tuple[Key, ...]) -> None:
        if self._sums is None or not values.size:
            return
        sums = np.atleast_1d(self._sums[leading]).ravel()
        if not np.array_equal(block_checksums(values, len(sums)), sums):
            self._artifact.refuse(OSError(f"{self._name}: the checksums do not fit"))

    def take(self, rows: np.ndarray, columns: np.ndarray | slice = np.s_[:]) -> np.ndarray:
        """Read many scattered rows, and some columns of each.

        Parameters
        ----------
        rows
            (r,) ascending numbers.
        columns
            The columns to keep. Whole rows are in memory only a few at a time.

        Returns
        -------
        numpy.ndarray
            (r, ...).
        """
        step = self._rows_of_a_window
        taken = []
        for start in range(0, len(self), step):
            within = rows[(rows >= start) & (rows < start + step)]
            if len(within):
                # the range that the rows lie in: for a list of rows HDF5 takes fifty times as long
                first = int(within[0])
                taken.append(self[first : int(within[-1]) + 1][within - first][:, columns])
        return np.concatenate(taken) if taken else self[0:0][:, columns]

    @property
    def _rows_of_a_window(self) -> int:
        return max(1, WINDOW_BYTES // max(1, block_bytes(self._data, 1)))

    def check(self) -> None:
        """Read everything once, a window at a time."""
        if not self.shape:
            self[()]
            return
        step = self._rows_of_a_window
        for start in range(0, len(self), step):
            self[start : start + step]


class Artifact:
    """An open artifact.

    Parameters
    ----------
    file
        The open file.
    path
        Its path.

    Raises
    ------
    UserError
        If its checksums are not those that it was finished with.

    Attributes
    ----------
    path
        Its path.
    content
        Digest of what it holds.
    """

    def __init__(self, file: h5py.File, path: str | Path) -> None:
        self._file, self.path = file, str(path)
        with structure_of(path):
            self._sums = read_checksums(file)
            self.content = recorded_content(file)
            current = content_of(file, self._sums)
        if current != self.content:
            self.refuse(OSError("its checksums are not those that were written"))

    def __contains__(self, name: str) -> bool:
        with structure_of(self.path):
            return name in self._file

    def __getitem__(self, name: str) -> Table:
        with structure_of(self.path):
            return Table(self, name, self._file[name], self._sums.get(name))

    def names(self, group: str) -> list[str]:
        """List the variables of a group; none where there is no group."""
        with structure_of(self.path):
            return list(self._file[group]) if group in self._file else []

    @property
    def dims(self) -> list[str]:
        """Names of its dimensions."""
        with structure_of(self.path):
            return [name for name in checked_variables(self._file) if self._file[name].is_scale]

    @property
    def variables(self) -> list[str]:
        """Names of all variables that are not empty, those of groups with the group; its dimensions are among them."""
        with structure_of(self.path):
            return checked_variables(self._file)

    @property
    def tables(self) -> list[str]:
        """Names of the variables that are one block of bytes in the file (see `purelens.storage.resumable`)."""
        with structure_of(self.path):
            return [name for name in self.variables if self._file[name].chunks is None]

    def attribute(self, name: str) -> Any:
        """Return a root attribute."""
        with structure_of(self.path):
            value = self._file.attrs[name]
            return text(self._file, name) if isinstance(value, str | bytes) else value

    @property
    def storage(self) -> str:
        """How its large tables are stored: ``half`` or ``single``."""
        with structure_of(self.path):
            return HALF if any(self._file[name].dtype == np.float16 for name in self.variables) else SINGLE

    def check(self) -> None:
        """Read everything once.

        Raises
        ------
        UserError
            If something is not as it was written.
        """
        for name in self.variables:
            self[name].check()

    def refuse(self, error: Exception) -> NoReturn:
        """Raise the error of a file that could not be read: of the system, or of its bytes."""
        refuse(self.path, error)


@contextmanager
def structure_of(path: str | Path) -> Iterator[None]:
    """Put errors of HDF5 within the block down to an artifact (see `refuse`): its structure is read there, not its numbers."""
    try:
        yield
    except UNREADABLE as error:
        refuse(path, error)


def refuse(path: str | Path, error: Exception) -> NoReturn:
    """Raise an error about an artifact that could not be read.

    Parameters
    ----------
    path
        The artifact.
    error
        What h5py raised.

    Raises
    ------
    OSError
        If the system failed (no descriptors left, no permission, a disk that does not answer), not the artifact.
    UserError
        If the bytes are not those of an artifact, with the command that rebuilds it.
    """
    number = system_error(error)
    if number is not None:
        raise OSError(number, os.strerror(number), str(path)) from None
    reason = " ".join(str(error).split())
    raise UserError(f"{path} cannot be read, it is damaged ({reason}); {rebuild(path)}") from None


def rebuild(path: str | Path) -> str:
    """Say how an artifact is made again."""
    return f"rebuild it with the --configfile of its study and: {REBUILD} {path}"


@contextmanager
def read(path: str | Path, name: str) -> Iterator[Artifact]:
    """Open an artifact for reading.

    Parameters
    ----------
    path
        The artifact.
    name
        The schema that it must have, a key of ``SCHEMAS``.

    Yields
    ------
    Artifact
        Reads its variables.

    Raises
    ------
    UserError
        If it is missing, damaged, edited or something else, with the command that rebuilds it.
    OSError
        If the system cannot read it.
    """
    with _opened(path) as file:
        with structure_of(path):
            _check_schema(file, path, name)
        yield Artifact(file, path)


def checked_content(path: str | Path) -> str:
    """Read an artifact from end to end, and return the digest of what it holds; ``damaged`` if it is not as it was written."""
    try:
        with _opened(path) as file:
            artifact = Artifact(file, path)
            artifact.check()
            return artifact.content
    except UserError:
        return DAMAGED


def is_artifact(path: str | Path) -> bool:
    """Tell whether an HDF5 file is an artifact: only those say what they hold."""
    with open_hdf5(path) as file, structure_of(path):
        return "schema" in file.attrs and CONTENT in file


def _opened(path: str | Path) -> h5py.File:
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; {rebuild(path)}")
    try:
        return open_hdf5(path)
    except OSError as error:
        if system_error(error) is not None:
            refuse(path, error)
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged or not an HDF5 file ({reason}); {rebuild(path)}") from None


def _check_schema(file: h5py.File, path: str | Path, name: str) -> None:
    schema = text(file, "schema") if "schema" in file.attrs else None
    version = file.attrs.get("schema_version")
    if schema != name or version != SCHEMAS[name].version:
        expected = f"{name} version {SCHEMAS[name].version}"
        raise UserError(f"{path} is an artifact of kind {schema} version {version}, not {expected}; {rebuild(path)}")


def _expanded(key: Key, ndim: int) -> tuple[Key, ...]:
    """Write an index out: one entry for each dimension; numbers as int."""
    keys = key if isinstance(key, tuple) else (key,)
    place = next((i for i, one in enumerate(keys) if one is Ellipsis), None)
    if place is not None:
        keys = (*keys[:place], *[slice(None)] * (ndim - len(keys) + 1), *keys[place + 1 :])
    keys = (*keys, *[slice(None)] * (ndim - len(keys)))
    return tuple(int(one) if isinstance(one, int | np.integer) else one for one in keys)


def strings(table: Table | h5py.Dataset) -> list[str]:
    """Read a variable of strings."""
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in table[...]]
