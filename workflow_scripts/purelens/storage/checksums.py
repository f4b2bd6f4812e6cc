"""Checksums of everything in an artifact, and one digest of them all.

Each dataset has a CRC-32 for each index of its leading dimensions, in ``checksum/<variable>``; the dataset ``content`` is the
digest of these checksums, so that what is read can be compared with it piece by piece. HDF5's own checksums do not do: a
program that edits a file computes them again. See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import h5py
import numpy as np

CHECKSUMS = "checksum/"
CONTENT, FINISHED = "content", "finished"
"""Datasets without dimensions: the digest of what an artifact holds, and when its last byte was written."""

CONTENT_LENGTH = 64
BLOCK_BYTES = 2**18
"""A checksum is of at most so many bytes if the dataset is cut into chunks."""

RECORD_ATTRIBUTES = (
    "fingerprint", "code", "params", "inputs", "execution", "seed", "device", "versions", "wall_time_seconds",
)  # fmt: skip
"""Root attributes that say how an artifact was made, not what is in it."""


def variables(group: h5py.Group) -> list[str]:
    """List the datasets of a group and of the groups in it."""
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def checked_variables(file: h5py.File) -> list[str]:
    """List the datasets that have, or are to have, checksums, in the order in which they are digested."""
    names = (name for name in variables(file) if not name.startswith(CHECKSUMS) and name not in (CONTENT, FINISHED))
    return sorted(name for name in names if file[name].size and file[name].shape)


def dims_of(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Name the dimensions of a dataset; a coordinate is along itself."""
    name = dataset.name.lstrip("/")
    return tuple(dim[0].name.lstrip("/") if len(dim) else name for dim in dataset.dims)


def checked_rank(dataset: h5py.Dataset) -> int:
    """Tell over how many leading dimensions the checksums of a dataset count.

    Parameters
    ----------
    dataset
        A dataset with dimensions.

    Returns
    -------
    int
        1 for one that is a block of bytes; otherwise as many as it takes to reach ``BLOCK_BYTES``.
    """
    rank = 1
    while dataset.chunks is not None and rank < dataset.ndim and block_bytes(dataset, rank) > BLOCK_BYTES:
        rank += 1
    return rank


def block_bytes(dataset: h5py.Dataset, rank: int) -> int:
    """Count the bytes below one index of the leading dimensions."""
    return int(np.prod(dataset.shape[rank:], dtype=np.int64)) * dataset.dtype.itemsize


def block_checksums(blocks: np.ndarray, n_blocks: int | None = None) -> np.ndarray:
    """Compute CRC-32 checksums.

    Parameters
    ----------
    blocks
        (b, ...) any type.
    n_blocks
        How many equal blocks the array is cut into; None: its length.

    Returns
    -------
    numpy.ndarray
        (b,) uint32.
    """
    n_blocks = len(blocks) if n_blocks is None else n_blocks
    data = np.ascontiguousarray(blocks).reshape(n_blocks, -1).view(np.uint8)
    return np.array([zlib.crc32(row.data) for row in data], dtype=np.uint32)


def content_of(file: h5py.File, sums: Mapping[str, np.ndarray] | None = None) -> str:
    """Digest what an artifact holds: its variables, through their checksums, and its attributes.

    Parameters
    ----------
    file
        The open artifact.
    sums
        The checksums of each variable; None: those in the file.

    Returns
    -------
    str
        sha256 as hexadecimal digits. Equal for equal data, however and wherever they were computed.
    """
    digest = hashlib.sha256()
    sums = read_checksums(file) if sums is None else sums
    plain = {name: _plain(value) for name, value in file.attrs.items() if name not in RECORD_ATTRIBUTES}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(variables(file)):
        if not name.startswith(CHECKSUMS) and name not in (CONTENT, FINISHED):
            dataset = file[name]
            digest.update(f"\n{name} {dataset.dtype.str} {dataset.shape}\n".encode())
            digest.update((sums[name] if name in sums else np.asarray(dataset[()])).tobytes())
    return digest.hexdigest()


def read_checksums(file: h5py.File) -> dict[str, np.ndarray]:
    """Read the checksums of all variables.

    Raises
    ------
    KeyError
        If a variable has none.
    """
    return {name: file[CHECKSUMS + name][...] for name in checked_variables(file)}


def checksums_fit(file: h5py.File, apart_from: Collection[str] = ()) -> bool:
    """Compare variables with their checksums, except some; False if one does not fit."""
    for name in checked_variables(file):
        if name not in apart_from:
            sums = file[CHECKSUMS + name][...]
            if not np.array_equal(block_checksums(file[name][...], sums.size), sums.ravel()):
                return False
    return True


def recorded_content(file: h5py.File) -> str:
    """Read the digest that was recorded when the artifact was finished.

    Raises
    ------
    KeyError
        If there is none.
    """
    return bytes(file[CONTENT][()]).decode("ascii", "replace")


def _plain(value: Any) -> Any:
    return (
        value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else value.item()
        if hasattr(value, "item")
        else value
    )
