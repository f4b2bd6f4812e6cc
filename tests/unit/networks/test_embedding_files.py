"""Files of embeddings: those that are read, and one line for each that is not."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from purelens.errors import UserError
from purelens.networks.embedding_files import check_embeddings, read_embeddings


def test_files_of_embeddings(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    np.save(tmp_path / "e.npy", values.astype(">f4"))  # of a machine that writes bytes the other way round
    save_file({"embedding": torch.from_numpy(values), "other": torch.zeros(2)}, tmp_path / "e.safetensors")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["anything"] = values
    for name in ("e.npy", "e.safetensors", "e.h5"):
        np.testing.assert_array_equal(read_embeddings(str(tmp_path / name)), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 4)), r"must hold floats \(images, components\)"),
        (np.zeros((2, 3), dtype=int), "must hold floats"),
        (np.array([[1.0], [np.nan]]), "NaN or infinite in row 1"),
        (np.array([{"a": 1}], dtype=object), "cannot read"),
    ],
)
def test_bad_files_of_embeddings(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "e.npy", values)
    with pytest.raises(UserError, match=message):
        read_embeddings(str(tmp_path / "e.npy"))


def test_sixteen_bits(tmp_path: Path) -> None:
    values = torch.randn(4, 3)
    for kind in (torch.bfloat16, torch.float16):
        save_file({"embedding": values.to(kind)}, tmp_path / "e.safetensors")
        np.testing.assert_array_equal(read_embeddings(str(tmp_path / "e.safetensors")), values.to(kind).float().numpy())


def test_damaged_files_are_told_before_they_are_read(tmp_path: Path) -> None:
    """By the header alone, and each in one line."""
    save_file({"embedding": torch.randn(50, 8)}, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    np.save(tmp_path / "whole.npy", np.zeros((50, 8), dtype="f4"))
    npy = (tmp_path / "whole.npy").read_bytes()
    with h5py.File(tmp_path / "claims.h5", "w") as file:
        file.create_dataset("embedding", (10**14, 8), "f4", chunks=(1024, 8))
    files = {
        "empty.npy": (b"", "is empty"),
        "pointer.safetensors": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            "git lfs pull",
        ),
        "cut.safetensors": (whole[:300], "cannot read"),
        "header.safetensors": (whole[:5], "cannot read"),
        "cut.npy": (npy[:-40], "cannot read"),
        "header.npy": (npy[:20], "cannot read"),
        "claims.npy": (npy.replace(b"(50, 8)", b"(10**9,"), "cannot read"),
        "text.h5": (b"text", "cannot read"),
        "claims.h5": (None, "more than its bytes can hold"),
        "other.txt": (b"1 2 3", "expected .npy"),
    }
    for name, (data, message) in files.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=message) as caught:
            check_embeddings(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no file"):
        check_embeddings(str(tmp_path / "gone.npy"))
