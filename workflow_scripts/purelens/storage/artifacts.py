"""Write HDF5 artifacts. No other module knows their layout but `purelens.storage.reading`.

An artifact is a NetCDF-4 file: every dimension has a coordinate, every variable a description and units, every dataset
checksums (see `purelens.storage.checksums`). It is written under a temporary name and renamed when it is whole (invariant 4,
atomic replacement, in ``docs/reruns.md``). Its root attributes are the provenance record.
Large tables that are filled in any order (see `purelens.storage.resumable`) are contiguous; all other datasets are chunked, and
have HDF5's own checksums too.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.storage.checksums import (
    CHECKSUMS,
    CONTENT,
    CONTENT_LENGTH,
    FINISHED,
    block_bytes,
    block_checksums,
    checked_rank,
    checked_variables,
    content_of,
    dims_of,
)
from purelens.storage.files import replace_when_whole
from purelens.storage.hdf5 import new_hdf5
from purelens.storage.provenance import Provenance
from purelens.storage.schemas import CHECKSUM, HALF, SCHEMAS, SINGLE
from purelens.storage.variables import Schema, Variable
from purelens.storage.versions import versions

CHUNK_BYTES = 2**18
SLAB_BYTES = 2**24
"""What is read back at a time for checksums."""

GROWING_CHUNK = 4096


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
    check
        Raises an error if something could not be written.
    """

    def __init__(
        self, file: h5py.File, schema: Schema, storage: str = SINGLE, check: Callable[[], None] = lambda: None
    ) -> None:
        self._file = file
        self._schema = schema
        self._storage = storage
        self._check = check

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
        shape = tuple(len(self._file[dim]) for dim in dims)
        dataset = self._file.create_dataset(name, shape=shape, dtype=self._dtype(spec), dcpl=_one_block())
        return self._described(dataset, dims, spec)

    def checksums(self) -> None:
        """Lay out the checksums of everything, and fill in those of all variables but the tables of `rows`.

        Nothing can be laid out after it.
        """
        for name in checked_variables(self._file):
            data = self._file[name]
            rank = checked_rank(data)
            sums = self.rows(CHECKSUMS + name, dims=dims_of(data)[:rank])
            if data.chunks is not None:
                step = max(1, SLAB_BYTES // block_bytes(data, 1))
                for start in range(0, len(data), step):
                    part = sums[start : start + step]
                    sums[start : start + step] = block_checksums(data[start : start + step], part.size).reshape(
                        part.shape
                    )
        # with values, so that HDF5 allocates them
        content = np.array(b"0" * CONTENT_LENGTH, dtype=h5py.string_dtype("ascii", CONTENT_LENGTH))
        for name, value, description, units in (
            (CONTENT, content, "digest of everything in this artifact", "1"),
            (FINISHED, np.float64(0), "when it was finished", "seconds since 1970"),
        ):
            dataset = self._file.create_dataset(name, data=value)
            dataset.attrs["description"], dataset.attrs["units"] = description, units

    def finish(self) -> None:
        """Write the digest of all checksums, last."""
        self._file[CONTENT][()] = content_of(self._file).encode()
        self._file[FINISHED][()] = time.time()

    def references(self, neurons: np.ndarray, reference_id: np.ndarray) -> None:
        """Define the neurons (C,) and their references: image ids (C, K), -1 where there is none."""
        self.coordinate("neuron", neurons)
        self.coordinate("reference", reference_id.shape[1])
        self.variable("reference_id", data=reference_id)

    def spec(self, name: str) -> Variable:
        """Look a variable up in the schema."""
        group, _, leaf = name.partition("/")
        return CHECKSUM if name.startswith(CHECKSUMS) else self._schema.variables[f"{group}/*" if leaf else name]

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
        self._check()
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


def _one_block() -> h5py.h5p.PropDCID:
    """Return the properties of a dataset that is one block of bytes, allocated at once and not filled."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return properties


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
    with replace_when_whole(path) as temporary, new_hdf5(temporary, path) as (file, check):
        write_attributes(file, name, provenance or Provenance(), device)
        out = Writer(file, SCHEMAS[name], storage, check)
        yield out
        file.attrs["wall_time_seconds"] = time.perf_counter() - started
        out.checksums()
        out.finish()


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
