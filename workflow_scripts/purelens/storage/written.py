"""Checksums of the rows that a job has written into a file, past HDF5 (see `purelens.storage.resumable`).

See invariant 5 (resume) in ``docs/reruns.md``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from purelens.storage.checksums import block_checksums

SLAB_BYTES = 2**26
"""What is read back at a time."""

SUMS, MASK, SIZE = "sums of ", "rows of ", "bytes of "
"""Names of the arrays that a checkpoint keeps for a table."""


@dataclass(frozen=True)
class Place:
    """Where a block of bytes lies in a file.

    Attributes
    ----------
    offset
        Its first byte.
    shape, dtype
        What the bytes are.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class Written:
    """What has been written to a table so far.

    Parameters
    ----------
    name, place
        The table, and where it lies.
    row_bytes
        How many bytes are written for one row; rows are counted over leading dimensions of the table.
    """

    def __init__(self, name: str, place: Place, row_bytes: int) -> None:
        self._name, self._place, self._row_bytes = name, place, row_bytes
        n_rows = place.size // row_bytes
        self._sums, self._mask = np.zeros(n_rows, np.uint32), np.zeros(n_rows, bool)

    def note(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Remember the checksums of rows (r,) that are written: values (r, ...)."""
        self._sums[rows] = block_checksums(values)
        self._mask[rows] = True

    def saved(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps."""
        kept = {SUMS: self._sums, MASK: self._mask, SIZE: np.array(self._row_bytes)}
        return {kind + self._name: values.copy() for kind, values in kept.items()}

    @staticmethod
    def restored(
        saved: Mapping[str, np.ndarray], places: Mapping[str, Place]
    ) -> tuple[dict[str, "Written"], dict[str, np.ndarray]]:
        """Sort what a checkpoint kept into the checksums of each table, and the rest.

        Raises
        ------
        KeyError, ValueError
            If it is not of these tables.
        """
        tables = {}
        for name in [name.removeprefix(SIZE) for name in saved if name.startswith(SIZE)]:
            tables[name] = Written(name, places[name], int(saved[SIZE + name]))
            tables[name]._sums[:], tables[name]._mask[:] = saved[SUMS + name], saved[MASK + name]
        return tables, {name: v for name, v in saved.items() if not name.startswith((SUMS, MASK, SIZE))}

    def fits(self, descriptor: int) -> bool:
        """Tell whether an open file holds the rows as they were written."""
        for start, slab in _slabs(descriptor, self._place, self._row_bytes):
            rows = slice(start, start + len(slab))
            same = block_checksums(slab) == self._sums[rows]
            if not (same | ~self._mask[rows]).all():
                return False
        return True


def row_checksums(descriptor: int, place: Place) -> np.ndarray:
    """Compute the CRC-32 of each index of the first dimension of a table in an open file: (r,) uint32."""
    row_bytes = place.size // place.shape[0]
    return np.concatenate([block_checksums(slab) for _, slab in _slabs(descriptor, place, row_bytes)])


def _slabs(descriptor: int, place: Place, row_bytes: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the bytes (r, b) of one slab of a table after another."""
    n_rows, step = place.size // row_bytes, max(1, SLAB_BYTES // row_bytes)
    for start in range(0, n_rows, step):
        n = min(step, n_rows - start)
        data = _read_all(descriptor, n * row_bytes, place.offset + start * row_bytes)
        yield start, np.frombuffer(data, np.uint8).reshape(n, row_bytes)


def _read_all(descriptor: int, size: int, offset: int) -> bytes:
    parts = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            raise OSError("the file ends too early")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
