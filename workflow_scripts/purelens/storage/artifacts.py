"""Read and write HDF5 artifacts. No other module knows their layout.

An artifact is a NetCDF-4 file: every dimension has a coordinate, every variable a description and units, every dataset a
checksum. It is written under a temporary name and renamed when it is whole (invariant 4, atomic replacement, in
``docs/reruns.md``). Its root attributes are the provenance record.
Large tables that are filled in any order (see `purelens.storage.resumable`) are contiguous, with a checksum for each index of
their first dimension in ``checksum/<variable>``; all other datasets are chunked, with HDF5's own checksums.
"""

import errno
import json
import os
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.errors import UserError
from purelens.storage.files import replace_when_whole
from purelens.storage.hdf5 import open_hdf5
from purelens.storage.provenance import REBUILD, Provenance, text
from purelens.storage.schemas import CHECKSUM, SCHEMAS, Schema, Variable
from purelens.storage.versions import versions

CHUNK_BYTES = 2**18
WINDOW_BYTES = 2**22
GROWING_CHUNK = 4096
HALF, SINGLE = "half", "single"
"""How large tables of real numbers are stored: in 16 or in 32 bits."""


class Writer:
    """Write the dimensions and variables of one artifact.

    Parameters
    ----------
    file
        The open file.
    schema
        What it may hold.
    storage
        ``half`` or ``single``.
    """

    def __init__(self, file: h5py.File, schema: Schema, storage: str = SINGLE) -> None:
        self._file = file
        self._schema = schema
        self._storage = storage

    def coordinate(self, dim: str, values: np.ndarray | int, growing: bool = False) -> None:
        """Define a dimension.

        Parameters
        ----------
        dim
            Its name.
        values
            Its coordinate values, or its length.
        growing
            Whether it can be lengthened with `grow`.
        """
        values = np.arange(values, dtype="i4") if isinstance(values, int) else np.asarray(values)
        maxshape = (None,) if growing else None
        chunks = (GROWING_CHUNK,) if growing else True if len(values) else None
        scale = self._file.create_dataset(
            dim, data=values, maxshape=maxshape, chunks=chunks, fletcher32=chunks is not None
        )
        scale.make_scale(dim)
        scale.attrs["description"] = f"coordinate {dim}"
        scale.attrs["units"] = "1"

    def variable(
        self, name: str, dims: tuple[str, ...] | None = None, data: Any = None, growing: bool = False
    ) -> h5py.Dataset:
        """Create a variable of the schema.

        Parameters
        ----------
        name
            Its name in the schema.
        dims
            Its dimensions, defined before; None: those of the schema.
        data
            Its values, if they are at hand.
        growing
            Whether its first dimension can be lengthened with `grow`.

        Returns
        -------
        h5py.Dataset
            The variable, filled with the data if there are any.
        """
        spec = self.spec(name)
        dims = dims or spec.dims
        shape = tuple(len(self._file[dim]) for dim in dims)
        dtype = self._dtype(spec) if spec.dtype != "str" else h5py.string_dtype("utf-8", _longest(data))
        if spec.dtype == "str":
            data = np.array([_encoded(value) for value in data], dtype=dtype)
        chunks = _chunks(shape, dtype, growing) if shape and (0 not in shape or growing) else None
        dataset = self._file.create_dataset(
            name,
            shape=shape,
            dtype=dtype,
            data=data if 0 not in shape else None,
            chunks=chunks,
            maxshape=(None, *shape[1:]) if growing else None,
            fletcher32=chunks is not None,
            compression="gzip" if spec.compressed and chunks else None,
            shuffle=spec.compressed and chunks is not None,
        )
        return self._described(dataset, dims, spec)

    def rows(self, name: str, dims: tuple[str, ...] | None = None) -> h5py.Dataset:
        """Create a variable that is one block of bytes in the file, allocated at once, to be filled in any order."""
        spec = self.spec(name)
        dims = dims or spec.dims
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        shape = tuple(len(self._file[dim]) for dim in dims)
        dataset = self._file.create_dataset(name, shape=shape, dtype=self._dtype(spec), dcpl=properties)
        return self._described(dataset, dims, spec)

    def references(self, neurons: np.ndarray, reference_id: np.ndarray) -> None:
        """Define the neurons (C,) and their references: image ids (C, K), -1 where there is none."""
        self.coordinate("neuron", neurons)
        self.coordinate("reference", reference_id.shape[1])
        self.variable("reference_id", data=reference_id)

    def spec(self, name: str) -> Variable:
        """Look a variable up in the schema."""
        group, _, leaf = name.partition("/")
        return CHECKSUM if group == "checksum" else self._schema.variables[f"{group}/*" if leaf else name]

    def _dtype(self, spec: Variable) -> np.dtype:
        return np.dtype("f2" if spec.rounds and self._storage == HALF else spec.dtype)

    def _described(self, dataset: h5py.Dataset, dims: tuple[str, ...], spec: Variable) -> h5py.Dataset:
        for axis, dim in enumerate(dims):
            dataset.dims[axis].attach_scale(self._file[dim])
        dataset.attrs["description"] = spec.description
        dataset.attrs["units"] = spec.units
        return dataset

    def grow(self, dim: str, length: int, *variables: str) -> None:
        """Lengthen a growing dimension.

        Parameters
        ----------
        dim, length
            Name of the dimension, and its new length.
        variables
            Names of the variables along it.
        """
        before = len(self._file[dim])
        self._file[dim].resize((length,))
        self._file[dim][before:] = np.arange(before, length)
        for name in variables:
            self._file[name].resize(length, axis=0)

    def attribute(self, name: str, value: str | int | float) -> None:
        """Set a root attribute."""
        _set(self._file, name, value)

    def __getitem__(self, name: str) -> h5py.Dataset:
        return self._file[name]


def _longest(texts: Any) -> int:
    return max([1, *(len(_encoded(value)) for value in texts)])


def _encoded(value: object) -> bytes:
    """Encode as UTF-8; bytes of a file name that are not UTF-8 are written as escapes."""
    return str(value).encode("utf-8", "backslashreplace")


def _chunks(shape: tuple[int, ...], dtype: np.dtype, growing: bool) -> tuple[int, ...]:
    """Choose whole rows, as many as fit in ``CHUNK_BYTES``; a row over it is cut along its own first axis."""
    row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
    if row_bytes > CHUNK_BYTES and len(shape) > 1:
        return (1, *_chunks(shape[1:], dtype, False))
    rows = max(1, CHUNK_BYTES // max(row_bytes, 1))
    return (rows if growing else min(rows, shape[0]), *shape[1:])


@contextmanager
def create(
    path: str | Path, name: str, provenance: Provenance | None = None, device: str = "cpu", storage: str = SINGLE
) -> Iterator[Writer]:
    """Write an artifact; it takes its place when the block ends without an error.

    Parameters
    ----------
    path
        Where it goes.
    name
        Its schema, a key of ``SCHEMAS``.
    provenance
        What it is made from.
    device
        Where it was computed.
    storage
        ``half`` or ``single``: how large tables of real numbers are stored.

    Yields
    ------
    Writer
        Writes coordinates, variables and attributes of the schema.
    """
    started = time.perf_counter()
    with disk_errors(path), replace_when_whole(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        write_attributes(file, name, provenance or Provenance(), device)
        yield Writer(file, SCHEMAS[name], storage)
        file.attrs["wall_time_seconds"] = time.perf_counter() - started


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Report a full disk in one line, which HDF5 reports in many."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if "errno = 28" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise


def write_attributes(file: h5py.File, name: str, provenance: Provenance, device: str) -> None:
    """Write the root attributes: the schema, the provenance record, the device and the library versions.

    Parameters
    ----------
    file
        The open file.
    name
        Its schema, a key of ``SCHEMAS``.
    provenance
        What it is made from.
    device
        Where it is computed.
    """
    record = provenance.record()
    _set(file, "schema", name)
    _set(file, "schema_version", SCHEMAS[name].version)
    _set(file, "fingerprint", record["fingerprint"])
    _set(file, "code", record["code"])
    for key in ("params", "inputs", "execution"):
        _set(file, key, json.dumps(record[key], sort_keys=True))
    _set(file, "seed", record["params"].get("seed", 0))
    _set(file, "device", device)
    _set(file, "versions", json.dumps(versions()))


def _set(file: h5py.File, name: str, value: str | int | float) -> None:
    """Set a root attribute.

    Texts have a fixed length, which HDF5 stores among what it has checksums of: a flipped bit in a heap of variable texts can
    send it into an endless loop.
    """
    if isinstance(value, str):
        data = _encoded(value)
        file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(1, len(data))))
    else:
        file.attrs[name] = value


@contextmanager
def read(path: str | Path, name: str) -> Iterator[h5py.File]:
    """Open an artifact for reading.

    Parameters
    ----------
    path
        The artifact.
    name
        The schema that it must have, a key of ``SCHEMAS``.

    Raises
    ------
    UserError
        If it is missing, damaged or something else, with the command that rebuilds it.
    """
    rebuild = f"rebuild it with the --configfile of its study and: {REBUILD} {path}"
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; {rebuild}")
    try:
        file = open_hdf5(path)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged or not an HDF5 file ({reason}); {rebuild}") from None
    with file:
        schema = text(file, "schema") if "schema" in file.attrs else None
        version = file.attrs.get("schema_version")
        if schema != name or version != SCHEMAS[name].version:
            expected = f"{name} version {SCHEMAS[name].version}"
            raise UserError(f"{path} is an artifact of kind {schema} version {version}, not {expected}; {rebuild}")
        try:
            yield file
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            if not isinstance(error, OSError) and not _from_hdf5(error):
                raise
            reason = " ".join(str(error).split())
            raise UserError(f"{path} cannot be read, it is damaged ({reason}); {rebuild}") from None


def _from_hdf5(error: BaseException) -> bool:
    """Tell an error of HDF5 from one of the code that reads."""
    return "h5py" in traceback.extract_tb(error.__traceback__)[-1].filename


class Rows:
    """Read a variable along its first dimension, comparing its checksums.

    Parameters
    ----------
    file, name
        The artifact and the variable.
    """

    def __init__(self, file: h5py.File, name: str) -> None:
        self._data = file[name]
        self._label = f"{file.filename}: {name}"
        self._sums = file[f"checksum/{name}"][...] if f"checksum/{name}" in file else None

    def __len__(self) -> int:
        return len(self._data)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole variable."""
        return self._data.shape

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Read rows by a slice or by ascending numbers; 16 bits become 32."""
        values = self._data[rows]
        if self._sums is not None and not np.array_equal(row_checksums(values), self._sums[rows]):
            raise OSError(f"{self._label}: the checksums do not fit")
        return values.astype(np.float32) if values.dtype == np.float16 else values

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
        step = max(1, WINDOW_BYTES // max(1, self._data.dtype.itemsize * int(np.prod(self.shape[1:]))))
        taken = []
        for start in range(0, len(self), step):
            within = rows[(rows >= start) & (rows < start + step)]
            if len(within):
                # the range that the rows lie in: for a list of rows HDF5 takes fifty times as long
                first = int(within[0])
                taken.append(self[first : int(within[-1]) + 1][within - first][:, columns])
        return np.concatenate(taken) if taken else self[0:0][:, columns]


def variables(group: h5py.Group) -> list[str]:
    """List the datasets of a group and of the groups in it."""
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def storage_of(file: h5py.File) -> str:
    """Tell how the large tables of an artifact are stored: ``half`` or ``single``."""
    return HALF if any(file[name].dtype == np.float16 for name in variables(file)) else SINGLE


def row_checksums(values: np.ndarray) -> np.ndarray:
    """Compute the CRC-32 of each row: (r,) uint32 of (r, ...)."""
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(values)], dtype=np.uint32)


def strings(dataset: h5py.Dataset) -> list[str]:
    """Read a variable of strings."""
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in dataset[...]]
