"""Fill long artifacts row by row, so that an interrupted job is resumed where it stopped.

See invariant 5 (resume) in ``docs/reruns.md``. The work is not done in the output, where a half-filled artifact could be read
and the old one would be lost. The artifact is begun under a hidden name beside it (``.name.part``), with its final layout, and
its tables are filled in place. From time to time a second hidden file (``.name.checkpoint``) says how far the work is, with the
checksums of what is done. A job that finds both, of its own record, compares the checksums and goes on from there.
"""

import hashlib
import io
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
from purelens.storage.artifacts import Writer, write_attributes
from purelens.storage.checksums import CHECKSUMS, CONTENT, FINISHED, checksums_fit, content_of, variables
from purelens.storage.files import CHECKPOINT, UNFINISHED, put_in_place, remove_leftovers, unfinished_path
from purelens.storage.hdf5 import new_hdf5
from purelens.storage.locks import take
from purelens.storage.provenance import Provenance
from purelens.storage.schemas import SCHEMAS, SINGLE
from purelens.storage.versions import versions
from purelens.storage.written import Place, Written, row_checksums

logger = logging.getLogger("purelens")

SECONDS_BETWEEN_CHECKPOINTS = 15.0
"""At most this much work is lost in a kill. A checkpoint waits for the disk, so more of them would slow the work."""

State = dict[str, np.ndarray]


class Work:
    """An artifact in the making.

    Parameters
    ----------
    path, name, provenance, device, storage
        As in `purelens.storage.artifacts.create`.

    Attributes
    ----------
    done
        Number of items of work that are done, by this job and by those it resumes.
    state
        Arrays saved with the last checkpoint.
    """

    def __init__(
        self, path: str | Path, name: str, provenance: Provenance | None, device: str, storage: str = SINGLE
    ) -> None:
        self._path = Path(path)
        self._part = unfinished_path(self._path)
        self._saved_state = unfinished_path(self._path, CHECKPOINT)
        self._name, self._provenance, self._device = name, provenance or Provenance(), device
        self._storage = storage
        self._key = _key(self._provenance, device)
        self._places: dict[str, Place] = {}
        self._written: dict[str, Written] = {}
        self._descriptor: int | None = None
        self._last_checkpoint = time.perf_counter()
        self.done = 0
        self.state: State = {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._resumed():
            self._begin_anew()

    @property
    def resumed(self) -> bool:
        """Whether an earlier job has laid the artifact out, so that `define` has nothing to do."""
        return self._descriptor is not None

    def __contains__(self, table: str) -> bool:
        return table in self._places

    @property
    def _tables(self) -> list[str]:
        return [name for name in self._places if not name.startswith(CHECKSUMS) and name not in (CONTENT, FINISHED)]

    def _resumed(self) -> bool:
        """Resume what an earlier job left, if it was begun from the same inputs by the same code, and is as it was left."""
        # a checkpoint or file that cannot be read is no reason to fail: the work begins anew
        with suppress(OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile):
            saved = _read_checkpoint(self._saved_state)
            if str(saved.pop("key")) != self._key:
                return False
            done = int(saved.pop("done"))
            self._open()  # last, because from here on this job owns the file
            self._written, state = Written.restored(saved, self._places)
            if not self._is_as_left():
                logger.warning("%s: what an interrupted job left is damaged; the work begins anew", self._path)
                return False
            self.done, self.state = done, state
            logger.info("resuming an interrupted job after %d", done)
            return True
        return False

    def _is_as_left(self) -> bool:
        """Compare the rows that are done, and all that is not a table, with their checksums."""
        assert self._descriptor is not None
        with h5py.File(self._part, "r", locking=False) as file:
            content_of(file)  # reads what nothing else does before the end: the attributes
            if not checksums_fit(file, apart_from=self._tables):
                return False
        return all(written.fits(self._descriptor) for written in self._written.values())

    def _begin_anew(self) -> None:
        """Remove what a job that has ended left behind."""
        self.close()
        with suppress(OSError, RuntimeError, KeyError, ValueError):
            self._open()  # refuses if that job has not ended
        self.close()
        self._places, self._written = {}, {}
        remove_leftovers(self._path)

    def define(self, layout: Callable[[Writer], None]) -> bool:
        """Lay the artifact out, unless an earlier job has.

        Parameters
        ----------
        layout
            Creates the coordinates and, by `Writer.rows`, the large tables.

        Returns
        -------
        bool
            Whether the artifact is new.
        """
        if self.resumed:
            return False
        with new_hdf5(self._part, self._path) as (file, check):
            write_attributes(file, self._name, self._provenance, self._device)
            out = Writer(file, SCHEMAS[self._name], self._storage, check)
            layout(out)
            # the checksums are laid out too: nothing is added later, so the structure is never written again
            out.checksums()
        self._open()
        self._reserve()
        return True

    def _open(self) -> None:
        """Open the hidden file for this job alone, and find out where its tables lie."""
        descriptor = os.open(self._part, os.O_RDWR)
        take(descriptor, self._path)
        self._descriptor = descriptor
        # HDF5 would try to take the lock that this job holds
        with h5py.File(self._part, "r", locking=False) as file:
            for name in variables(file):
                if file[name].chunks is None and file[name].size:
                    self._places[name] = Place(file[name].id.get_offset(), file[name].shape, file[name].dtype)

    def _reserve(self) -> None:
        """Allocate the whole file: a disk that is too small is reported before the work, not after it."""
        assert self._descriptor is not None
        # tables that HDF5 has not written to yet lie beyond the end of the file
        size = max(
            [os.fstat(self._descriptor).st_size, *(place.offset + place.size for place in self._places.values())]
        )
        os.posix_fallocate(self._descriptor, 0, size)

    def write(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Write rows of a table.

        The bytes go straight to their place in the file, past HDF5: its structure is not touched, so a kill cannot damage it.

        Parameters
        ----------
        name
            The table.
        rows
            (r,) numbers of the rows, counted over the leading dimensions.
        values
            (r, ...) their values.
        """
        assert self._descriptor is not None
        place = self._places[name]
        values = _rounded(values, place.dtype, name)
        if not len(values):
            return
        size = values[0].nbytes
        self._written.setdefault(name, Written(name, place, size)).note(rows, values)
        # neurons of an image are scattered over the table: each run of consecutive rows is one write
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        for run in np.split(np.arange(len(rows)), breaks):
            data = values[run[0] : run[-1] + 1].data.cast("B")
            _write_all(self._descriptor, data, place.offset + int(rows[run[0]]) * size)

    def checkpoint(self, done: int, state: Callable[[], State] = dict) -> None:
        """Note that all items before ``done`` are written, and save that now and then.

        Parameters
        ----------
        done
            Number of items that are done.
        state
            Gives the arrays that a resumed job needs besides.
        """
        self.done = done
        if time.perf_counter() - self._last_checkpoint >= SECONDS_BETWEEN_CHECKPOINTS:
            self._save(state())

    def _save(self, state: Mapping[str, Any]) -> None:
        assert self._descriptor is not None
        os.fdatasync(self._descriptor)  # a checkpoint must not reach the disk before the rows that it speaks of
        # renamed when it is whole: a kill leaves the last checkpoint or this one
        temporary = self._saved_state.with_name(self._saved_state.name + UNFINISHED)
        sums = {name: values for written in self._written.values() for name, values in written.saved().items()}
        with temporary.open("wb") as file:
            file.write(_checkpoint(key=np.array(self._key), done=np.array(self.done), **state, **sums))
        put_in_place(temporary, self._saved_state)
        self._last_checkpoint = time.perf_counter()

    def finish(self) -> None:
        """Write the checksums and the digest of them all, and put the artifact in its place.

        Raises
        ------
        UserError
            If the disk does not give back what was written to it.
        """
        assert self._descriptor is not None
        # from the bytes in the file and not from memory: rows of the jobs that were resumed count too
        for name in self._tables:
            if name in self._written and not self._written[name].fits(self._descriptor):
                raise UserError(f"{self._path}: the disk does not give back what was written to it ({name}); run again")
            self._put(CHECKSUMS + name, row_checksums(self._descriptor, self._places[name]))
        with h5py.File(self._part, "r", locking=False) as file:
            content = content_of(file)
        self._put(CONTENT, np.frombuffer(content.encode(), np.uint8))
        self._put(FINISHED, np.array([time.time()]))
        self.close()
        put_in_place(self._part, self._path)
        # after the rename: a kill in between leaves a whole artifact, and a checkpoint that the next run sweeps away
        remove_leftovers(self._path)

    def _put(self, name: str, values: np.ndarray) -> None:
        """Write a whole dataset past HDF5."""
        assert self._descriptor is not None
        _write_all(self._descriptor, values.data.cast("B"), self._places[name].offset)

    def close(self) -> None:
        """Close the hidden file, which also releases it for other jobs."""
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
    """Make an artifact, or resume the work of an interrupted job.

    The block ends with `Work.finish`. If it is left by an error, what was begun stays for the next job, unless the error is a
    mistake of the user's, which would come again.

    Parameters
    ----------
    path, name, provenance, device, storage
        As in `purelens.storage.artifacts.create`.

    Yields
    ------
    Work
        The artifact, with the number of rows that are done.
    """
    work = Work(path, name, provenance, device, storage)
    try:
        yield work
    except UserError:
        work.discard()
        raise
    finally:
        work.close()


def _key(provenance: Provenance, device: str) -> str:
    """Hash what must be equal for a job to resume another: other libraries or devices round differently."""
    facts = [provenance.record(), device.partition(":")[0], versions()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _rounded(values: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Convert values to the stored type; refuse those beyond the largest of 16 bits."""
    if dtype == np.float16 and len(values) and np.abs(values).max() > np.finfo(np.float16).max:
        raise UserError(f"{name}: {np.abs(values).max():g} is too large to be stored in 16 bits; set storage: single")
    return np.ascontiguousarray(values, dtype=dtype)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while len(data):  # the system may write less than it is given
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _checkpoint(**arrays: np.ndarray) -> bytes:
    """Pack arrays, with a digest of them in front."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return hashlib.sha256(buffer.getbuffer()).digest() + buffer.getvalue()


def _read_checkpoint(path: Path) -> State:
    """Unpack the arrays of a checkpoint.

    Raises
    ------
    OSError
        If there is none, or its bytes are not those that were written.
    """
    data = path.read_bytes()
    digest, packed = data[:32], data[32:]
    if hashlib.sha256(packed).digest() != digest:
        raise OSError(f"{path} is damaged")
    with np.load(io.BytesIO(packed), allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}
