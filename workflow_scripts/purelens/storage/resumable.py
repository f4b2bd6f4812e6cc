"""Artifacts that take long to make: filled row by row in any order, and gone on with after an interruption.

Snakemake removes the outputs of a job that failed, so the work is not done in the output. The file is begun under a hidden
name beside it, with its final layout, and its tables are filled in place: the structure of the file is not touched, so a
kill cannot damage it. From time to time a second hidden file says how far the work is. A job that finds both, made from the
same inputs by the same code, goes on from there.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.errors import UserError
from purelens.storage.artifacts import SINGLE, Writer, disk_errors, row_checksums, variables, versions, write_attributes
from purelens.storage.files import put_in_place, remove_leftovers
from purelens.storage.provenance import Provenance
from purelens.storage.schemas import SCHEMAS

logger = logging.getLogger("purelens")

SECONDS_BETWEEN_SAVES = 15.0
SLAB_BYTES = 2**26

State = dict[str, np.ndarray]


class Work:
    """An artifact in the making.

    Attributes
    ----------
    done
        How many of the items of work are done, by this job and by those before it.
    state
        Arrays that were saved with ``done``.
    """

    def __init__(
        self, path: str | Path, name: str, provenance: Provenance | None, device: str, storage: str = SINGLE
    ) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._progress = self._path.with_name(f".{self._path.name}.progress")
        self._name, self._provenance, self._device = name, provenance or Provenance(), device
        self._storage = storage
        self._key = _key(self._provenance, device)
        self._offsets: dict[str, tuple[int, tuple[int, ...], np.dtype]] = {}
        self._descriptor: int | None = None
        self._saved = time.perf_counter()
        self.done = 0
        self.state: State = {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._found():
            self._begin_anew()

    @property
    def defined(self) -> bool:
        """Whether the layout is known, from `define` or from an earlier job."""
        return self._descriptor is not None

    def _found(self) -> bool:
        """Take up what an earlier job left, if it fits."""
        with suppress(OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile):
            with np.load(self._progress, allow_pickle=False) as saved:
                if str(saved["key"]) != self._key:
                    return False
                state = {name: saved[name] for name in saved.files if name not in ("key", "done")}
                done = int(saved["done"])
            self._open()
            self.done, self.state = done, state
            logger.info("going on where an interrupted job stopped, after %d", done)
            return True
        return False

    def _begin_anew(self) -> None:
        """Remove what was begun by a job that is no more."""
        self.close()
        with suppress(OSError, RuntimeError, KeyError, ValueError):
            self._open()  # refuses if that job still writes
        self.close()
        self._offsets = {}
        remove_leftovers(self._path)

    def define(self, layout: Callable[[Writer], None]) -> None:
        """Lay the file out: ``layout`` creates its coordinates and, by `Writer.rows`, its large tables."""
        with disk_errors(self._path), h5py.File(self._part, "w", libver="latest") as file:
            write_attributes(file, self._name, self._provenance, self._device)
            out = Writer(file, SCHEMAS[self._name], self._storage)
            layout(out)
            for name in _tables(file):
                out.rows(f"checksum/{name}", dims=(file[name].dims[0][0].name.lstrip("/"),))
        self._open()
        self._reserve()

    def _open(self) -> None:
        """Open the file that was begun, for this job alone."""
        self._descriptor = os.open(self._part, os.O_RDWR)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise UserError(f"{self._path} is being written by another job; wait for it to end") from None
        with h5py.File(self._part, "r", locking=False) as file:
            for name in _tables(file):
                self._offsets[name] = (file[name].id.get_offset(), file[name].shape, file[name].dtype)

    def _reserve(self) -> None:
        """Ask for the space at once: a disk that is too small is told before the work, not after."""
        assert self._descriptor is not None
        size = max(
            [os.fstat(self._descriptor).st_size, *(offset + _bytes(s, d) for offset, s, d in self._offsets.values())]
        )
        os.posix_fallocate(self._descriptor, 0, size)

    def write(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Write rows of a table.

        Parameters
        ----------
        name
            The table.
        rows
            (r,) numbers of the rows, counted over the leading dimensions.
        values
            (r, ...) what goes there.
        """
        assert self._descriptor is not None
        offset, _, dtype = self._offsets[name]
        values = _rounded(values, dtype, name)
        size = values[0].nbytes if len(values) else 0
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for part in np.split(np.arange(len(rows)), breaks) if len(rows) else []:
            _write_all(
                self._descriptor, values[part[0] : part[-1] + 1].data.cast("B"), offset + int(rows[part[0]]) * size
            )

    def done_to(self, done: int, state: Callable[[], State] = dict) -> None:
        """Say that all items before ``done`` are written; saved now and then, with the arrays that ``state`` gives."""
        self.done = done
        if time.perf_counter() - self._saved >= SECONDS_BETWEEN_SAVES:
            self._save(state())

    def _save(self, state: Mapping[str, Any]) -> None:
        assert self._descriptor is not None
        os.fdatasync(self._descriptor)
        temporary = self._progress.with_name(f"{self._progress.name}.part")
        with temporary.open("wb") as file:
            np.savez(file, key=np.array(self._key), done=self.done, **state)
        put_in_place(temporary, self._progress)
        self._saved = time.perf_counter()

    def finish(self) -> None:
        """Write the checksums and put the artifact in its place; its structure is not touched, so a kill does no harm."""
        for name in [*self._offsets]:
            if not name.startswith("checksum/"):
                sums = self._checksums(name)
                self.write(f"checksum/{name}", np.arange(len(sums)), sums)
        self.close()
        put_in_place(self._part, self._path)
        remove_leftovers(self._path)

    def _checksums(self, name: str) -> np.ndarray:
        """CRC-32 of each index of the first dimension, read back a slab at a time."""
        assert self._descriptor is not None
        offset, shape, dtype = self._offsets[name]
        size = _bytes(shape[1:], dtype)
        step = max(1, SLAB_BYTES // size)
        found = []
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            slab = np.frombuffer(_read_all(self._descriptor, (stop - start) * size, offset + start * size), np.uint8)
            found.append(row_checksums(slab.reshape(stop - start, size)))
        return np.concatenate(found)

    def close(self) -> None:
        """Stop writing rows."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def discard(self) -> None:
        """Remove what was begun."""
        self.close()
        remove_leftovers(self._path)


@contextmanager
def resume(
    path: str | Path, name: str, provenance: Provenance | None, device: str, storage: str = SINGLE
) -> Iterator[Work]:
    """Make an artifact, or go on with one that an interrupted job began.

    The block ends with `Work.finish`. What was begun stays for the next job if the block is left by an error, unless the error
    is the user's, which would come again.

    Parameters
    ----------
    path, name, provenance, device, storage
        As in `purelens.storage.artifacts.create`.
    """
    work = Work(path, name, provenance, device, storage)
    try:
        yield work
    except UserError:
        work.discard()
        raise
    finally:
        work.close()


def _tables(file: h5py.File) -> list[str]:
    """Names of the variables that are one block of bytes in a file."""
    return [n for n in variables(file) if file[n].chunks is None and not file[n].is_scale and file[n].size]


def _key(provenance: Provenance, device: str) -> str:
    """What must be the same for a job to go on where another stopped."""
    facts = [provenance.record(), device.partition(":")[0], versions()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _rounded(values: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Values as they are stored; those beyond the largest of 16 bits are an error."""
    if dtype == np.float16 and len(values) and np.abs(values).max() > np.finfo(np.float16).max:
        raise UserError(f"{name}: {np.abs(values).max():g} is too large to be stored in 16 bits; set storage: single")
    return np.ascontiguousarray(values, dtype=dtype)


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _read_all(descriptor: int, size: int, offset: int) -> bytes:
    parts = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            raise OSError("the file ends too early")
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
