"""Tables of artifacts: every index gives what NumPy gives, and only if its bytes are those that were written."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from purelens.errors import UserError
from purelens.storage.artifacts import create
from purelens.storage.checksums import content_of, recorded_content
from purelens.storage.hdf5 import open_hdf5
from purelens.storage.reading import DAMAGED, checked_content, read

LABEL = np.random.default_rng(0).integers(-1, 5, (3, 2, 4, 5)).astype("i1")


def write(path: Path, label: np.ndarray = LABEL) -> Path:
    with create(path, "virtual_neurons") as out:
        for dim, length in zip(("method_number", "n_clusters", "neuron", "reference"), label.shape, strict=True):
            out.coordinate(dim, length)
        out.variable("label", data=label)
        out.variable("method", data=["a", "b", "ü"])
    return path


KEYS: list[Any] = [
    ..., 0, -1, np.int64(2), np.s_[:], np.s_[1:3], np.s_[-2:], np.s_[::2], np.s_[0:0], np.array([0, 2]), np.s_[:, 1],
    np.s_[1, :], np.s_[:, :, 1:3], np.s_[1, 1, 2], np.s_[1, 1, 2, :3], np.s_[1, 1, 2, 3], np.s_[:, :, np.array([0, 3])],
    np.s_[..., 0], np.s_[0, ..., 1], np.s_[:, 1:, np.array([1])], np.s_[2, 0:1],
]  # fmt: skip


@pytest.mark.parametrize("block_bytes", [1, 5, 20, 2**18])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_an_index_gives_what_numpy_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Any, block_bytes: int
) -> None:
    """Whether checksums count over one dimension or over all."""
    monkeypatch.setattr("purelens.storage.checksums.BLOCK_BYTES", block_bytes)
    with read(write(tmp_path / "a.h5"), "virtual_neurons") as file:
        np.testing.assert_array_equal(file["label"][key], LABEL[key])
        assert np.shape(file["label"][key]) == LABEL[key].shape


@pytest.mark.parametrize("block_bytes", [1, 5, 20, 2**18])
def test_one_value_that_is_edited_is_told_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    """By h5py, which computes HDF5's own checksums again."""
    monkeypatch.setattr("purelens.storage.checksums.BLOCK_BYTES", block_bytes)
    path = write(tmp_path / "a.h5")
    for place in [(0, 0, 0, 0), (2, 1, 3, 4), (1, 0, 2, 2)]:
        with h5py.File(path, "r+") as file:
            before = file["label"][place]
            file["label"][place] = 9
        with pytest.raises(UserError, match="label: the checksums do not fit"), read(path, "virtual_neurons") as found:
            found["label"][place]
        assert checked_content(path) == DAMAGED
        with h5py.File(path, "r+") as file:
            file["label"][place] = before
    assert checked_content(path) != DAMAGED


def test_black_to_white_and_minus_one_to_zero_are_told(tmp_path: Path) -> None:
    """HDF5's own checksum takes words of all ones for zeros."""
    label = np.zeros((3, 2, 4, 4), "i1")
    path = write(tmp_path / "a.h5", label)
    with h5py.File(path, "r+") as file:
        file["label"][...] = -1
    with pytest.raises(UserError, match="the checksums do not fit"), read(path, "virtual_neurons") as found:
        found["label"][...]


@pytest.mark.parametrize("what", ["a checksum", "an attribute", "a variable more", "the digest"])
def test_what_is_not_a_value_is_compared_too(tmp_path: Path, what: str) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        if what == "a checksum":
            file["checksum/label"][0] += 1
        elif what == "an attribute":
            file.attrs["n_clusters"] = 3
        elif what == "a variable more":
            file["another"] = [1, 2]
        else:
            file["content"][()] = b"0" * 64
    with pytest.raises(UserError, match="it is damaged"), read(path, "virtual_neurons"):
        pass


def test_the_digest_is_of_data_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5")
    other = write(tmp_path / "c.h5", LABEL[::-1])
    contents = []
    for path in (tmp_path / "a.h5", tmp_path / "b.h5", other):
        with open_hdf5(path) as file:
            contents.append(recorded_content(file))
            assert contents[-1] == content_of(file)
    assert contents[0] == contents[1] != contents[2]


def test_an_error_elsewhere_is_not_put_down_to_an_artifact(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with pytest.raises(OSError, match="No space left"), read(path, "virtual_neurons"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "another file")
    with pytest.raises(OSError, match="b.h5"), read(path, "virtual_neurons"):
        h5py.File(tmp_path / "b.h5")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_an_error_of_the_system_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = write(tmp_path / "a.h5")

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("purelens.storage.hdf5.h5py.File", fails)
    with pytest.raises(OSError, match="a.h5") as told, read(path, "virtual_neurons"):
        pass
    assert told.value.errno == number


def test_a_copy_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    shutil.copy(path, tmp_path / "b.h5")
    assert checked_content(path) == checked_content(tmp_path / "b.h5")
