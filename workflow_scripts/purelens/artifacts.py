"""The HDF5 artifacts: the only place that knows their layout.

An artifact is a NetCDF-4 file: every dimension has a coordinate, every variable a description and units, every dataset a
checksum. It is written under a temporary name and renamed when it is whole. The root attributes say what it was made from.
"""

import glob
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.errors import UserError
from purelens.schemas import SCHEMAS, Schema

CHUNK_BYTES = 2**18
SLAB_BYTES = 2**26


@dataclass(frozen=True)
class Provenance:
    """What an artifact is made from."""

    params: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def identity(self, name: str) -> str:
        """Digest of everything that decides the contents of the artifact."""
        facts = [name, SCHEMAS[name].version, self.params, self.code, self.inputs, self.seed]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class Writer:
    """An artifact that is being written."""

    def __init__(self, file: h5py.File, schema: Schema) -> None:
        self._file = file
        self._schema = schema

    def coordinate(self, dim: str, values: np.ndarray | int, growing: bool = False) -> None:
        """Define a dimension by its coordinate values, or by its length."""
        values = np.arange(values, dtype="i4") if isinstance(values, int) else np.asarray(values)
        maxshape = (None,) if growing else None
        chunks = (4096,) if growing else True if len(values) else None
        scale = self._file.create_dataset(
            dim, data=values, maxshape=maxshape, chunks=chunks, fletcher32=chunks is not None
        )
        scale.make_scale(dim)
        scale.attrs["description"] = f"coordinate {dim}"
        scale.attrs["units"] = "1"

    def variable(
        self, name: str, dims: tuple[str, ...] | None = None, data: Any = None, growing: bool = False
    ) -> h5py.Dataset:
        """Create a variable of the schema over dimensions defined before, with its data if it is at hand."""
        group, _, leaf = name.partition("/")
        spec = self._schema.variables[f"{group}/*" if leaf else name]
        dims = dims or spec.dims
        shape = tuple(len(self._file[dim]) for dim in dims)
        dtype = np.dtype(spec.dtype) if spec.dtype != "str" else h5py.string_dtype("utf-8", _longest(data))
        if spec.dtype == "str":
            data = np.array([_encoded(text) for text in data], dtype=dtype)
        chunks = _chunks(shape, dtype, growing) if shape and (0 not in shape or growing) else None
        dataset = self._file.create_dataset(
            name,
            shape=shape,
            dtype=dtype,
            data=data if 0 not in shape else None,
            chunks=chunks,
            maxshape=(None, *shape[1:]) if growing else None,
            fletcher32=chunks is not None,
        )
        for axis, dim in enumerate(dims):
            dataset.dims[axis].attach_scale(self._file[dim])
        dataset.attrs["description"] = spec.description
        dataset.attrs["units"] = spec.units
        return dataset

    def grow(self, dim: str, length: int, *variables: str) -> None:
        """Lengthen a growing dimension and the variables along it."""
        before = len(self._file[dim])
        self._file[dim].resize((length,))
        self._file[dim][before:] = np.arange(before, length)
        for name in variables:
            self._file[name].resize(length, axis=0)

    def attribute(self, name: str, value: str | int | float) -> None:
        """Set a root attribute."""
        self._file.attrs[name] = value

    def __getitem__(self, name: str) -> h5py.Dataset:
        return self._file[name]


def _longest(texts: Any) -> int:
    return max([1, *(len(_encoded(text)) for text in texts)])


def _encoded(text: object) -> bytes:
    """UTF-8; bytes of a file name that are none are written as escapes."""
    return str(text).encode("utf-8", "backslashreplace")


def _chunks(shape: tuple[int, ...], dtype: np.dtype, growing: bool) -> tuple[int, ...]:
    """Whole rows, as many as fit in ``CHUNK_BYTES``; a row over it is cut along its own first axis."""
    row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
    if row_bytes > CHUNK_BYTES and len(shape) > 1:
        return (1, *_chunks(shape[1:], dtype, False))
    rows = max(1, CHUNK_BYTES // max(row_bytes, 1))
    return (rows if growing else min(rows, shape[0]), *shape[1:])


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    names = ["numpy", "torch", "torchvision", "zennit", "open_clip_torch", "timm", "scikit-learn", "h5py", "pillow"]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def replace_when_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it when the block ends, remove it when it fails.

    What a killed job left behind for the same path, scratch files included, is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        left.unlink()
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def create(path: str | Path, name: str, provenance: Provenance | None = None, device: str = "cpu") -> Iterator[Writer]:
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
    """
    provenance = provenance or Provenance()
    started = time.perf_counter()
    with replace_when_whole(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["schema"] = name
        file.attrs["schema_version"] = SCHEMAS[name].version
        file.attrs["identity"] = provenance.identity(name)
        file.attrs["params"] = json.dumps(dict(provenance.params), sort_keys=True, default=str)
        file.attrs["code"] = provenance.code
        file.attrs["inputs"] = json.dumps(dict(provenance.inputs), sort_keys=True)
        file.attrs["seed"] = provenance.seed
        file.attrs["device"] = device
        file.attrs["versions"] = json.dumps(versions())
        yield Writer(file, SCHEMAS[name])
        file.attrs["wall_time_seconds"] = time.perf_counter() - started


@contextmanager
def read(path: str | Path, name: str) -> Iterator[h5py.File]:
    """Open an artifact for reading.

    Raises
    ------
    UserError
        If it is missing, damaged or something else, with the command that rebuilds it.
    """
    rebuild = (
        f"rebuild it with the --configfile of its study and: snakemake --cores all --resources gpu=1 --force {path}"
    )
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; {rebuild}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged or not an HDF5 file ({reason}); {rebuild}") from None
    with file:
        schema, version = file.attrs.get("schema"), file.attrs.get("schema_version")
        if schema != name or version != SCHEMAS[name].version:
            expected = f"{name} version {SCHEMAS[name].version}"
            raise UserError(f"{path} is an artifact of kind {schema} version {version}, not {expected}; {rebuild}")
        try:
            yield file
        except OSError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path} cannot be read, it is damaged ({reason}); {rebuild}") from None


class Scratch:
    """A table of rows on disk, written in any order and read back in order; gone when the block ends.

    Checksummed HDF5 chunks cannot be filled row by row without reading and writing each many times.

    Parameters
    ----------
    beside, name
        The artifact it will be part of; the file lies in the same folder and has this in its name.
    n_rows, n_columns, dtype
        Its shape and type. Rows never written are zero.
    """

    def __init__(self, beside: str | Path, name: str, n_rows: int, n_columns: int, dtype: str = "f4") -> None:
        self._path = Path(beside).with_name(f".{Path(beside).name}.{name}.scratch")
        self._dtype = np.dtype(dtype)
        self._row_bytes = n_columns * self._dtype.itemsize
        self.n_rows = n_rows
        self.n_columns = n_columns

    def __enter__(self) -> "Scratch":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w+b", buffering=0)
        self._file.truncate(self.n_rows * self._row_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write ``values[i]`` to row ``rows[i]``."""
        values = np.ascontiguousarray(values, dtype=self._dtype).reshape(len(rows), self.n_columns)
        for row, value in zip(rows.tolist(), values, strict=True):
            os.pwrite(self._file.fileno(), value.tobytes(), row * self._row_bytes)

    def copy_to(self, variable: h5py.Dataset) -> None:
        """Write all rows to a variable of the same size, a slab along its first axis at a time."""
        rows_each = self.n_rows // max(len(variable), 1)
        step = max(1, SLAB_BYTES // max(rows_each * self._row_bytes, 1))
        for start in range(0, len(variable), step):
            stop = min(start + step, len(variable))
            size = (stop - start) * rows_each * self._row_bytes
            data = os.pread(self._file.fileno(), size, start * rows_each * self._row_bytes)
            variable[start:stop] = np.frombuffer(data, dtype=self._dtype).reshape(-1, *variable.shape[1:])


def strings(dataset: h5py.Dataset) -> list[str]:
    """Read a variable of strings."""
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in dataset[...]]


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all."""
    with replace_when_whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_identity(path: str | Path) -> str:
    """What identifies a file: the identity of an artifact, the digest of the bytes of anything else."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            if "identity" in file.attrs:
                return str(file.attrs["identity"])
    with Path(path).open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
