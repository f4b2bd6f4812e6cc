"""Tables, lists, embeddings, checkpoints and HDF5 files from strangers: each is read rightly or refused in one line."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from purelens.data.dataset import dataset
from purelens.data.sources import open_source
from purelens.data.vocabulary import read_imported, read_superclasses, read_texts
from purelens.errors import UserError
from purelens.networks.checkpoints import load_weights, read_checkpoint
from purelens.networks.embedding_files import check_embeddings, read_embeddings


def npy(header: bytes, data: bytes = b"") -> bytes:
    """An array file with a header."""
    return b"\x93NUMPY\x01\0v\0" + header.ljust(117) + b"\n" + data


BYTES: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4000),
    "noise": np.random.default_rng(0).bytes(4000),
    "text": b"hello\n",
    "half a letter": b"path,label\n\xff\xfe\xc3",
    "null bytes": b"path,label\na\0b,1\n",
    "a pointer of LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a page": b"<!DOCTYPE html><html>404</html>",
    "deep JSON": b"[" * 100_000 + b"]" * 100_000,
    "deep mappings": b'{"a":' * 100_000,
    "a huge number": b"[1" + b"0" * 10_000 + b"]",
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "an archive": b"PK\x03\x04" + bytes(200),
    "HDF5 and nothing else": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "npy that claims much": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000, 512), }"),
    "npy of objects": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", bytes(48)),
    "safetensors that claim much": struct.pack("<Q", 2**62) + b"{}",
    "safetensors beyond the end": (
        lambda h: struct.pack("<Q", len(h)) + h
    )(b'{"a":{"dtype":"F32","shape":[99999999,512],"data_offsets":[0,204799997952]}}'),
}  # fmt: skip

READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "images.csv": ("images", open_source),
    "images.h5": ("images", open_source),
    "texts.txt": ("concepts", read_texts),
    "texts.json": ("concepts", read_texts),
    "texts.csv": ("concepts", read_texts),
    "names.json": ("superclasses", lambda path: read_superclasses(path, ["a"])),
    "imported.csv": ("imported", read_imported),
    "embeddings.npy": ("embedder", check_embeddings),
    "embeddings.safetensors": ("embedder", check_embeddings),
    "embeddings.h5": ("embedder", check_embeddings),
    "weights.safetensors": ("weights", read_checkpoint),
    "weights.pth": ("weights", read_checkpoint),
    "weights": ("weights", read_checkpoint),
}

HARMLESS = {("texts.txt", "text"), ("texts.txt", "a page"), ("texts.txt", "a pointer of LFS"), ("texts.txt", "deep JSON"),
            ("texts.txt", "deep mappings"), ("texts.txt", "a huge number")}  # fmt: skip
"""Lines of text are a list of texts."""


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("attack", BYTES)
def test_bytes_that_are_something_else(tmp_path: Path, name: str, attack: str) -> None:
    _, read = READERS[name]
    (tmp_path / name).write_bytes(BYTES[attack])
    if (name, attack) in HARMLESS:
        read(str(tmp_path / name))
        return
    with pytest.raises(UserError) as told:
        read(str(tmp_path / name))
    assert "\n" not in str(told.value)
    assert name in str(told.value)
    assert not Path("/tmp/owned").exists()


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    _, read = READERS[name]
    for path in (tmp_path / "none" / name, tmp_path):
        if name.startswith("images") and path == tmp_path:
            continue  # a folder is a source of images
        with pytest.raises(UserError):
            read(str(path))


class Owned:
    """Unpickling it would write a file."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/owned",)


@pytest.mark.parametrize("protocol", range(6))
def test_programs_in_checkpoints_are_not_run(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Owned()}, protocol))
    with pytest.raises(UserError, match="weights"):
        read_checkpoint(str(tmp_path / "w.pth"))
    assert not Path("/tmp/owned").exists()


@pytest.mark.parametrize("n_bytes", [9, 50, 200, 1000, 3000])
@pytest.mark.parametrize("safetensors", [True, False])
def test_checkpoints_that_are_cut_off(tmp_path: Path, n_bytes: int, safetensors: bool) -> None:
    path = tmp_path / ("w.safetensors" if safetensors else "w.pth")
    state = {f"layer{i}.weight": torch.randn(16, 16) for i in range(4)}
    (save_file if safetensors else torch.save)(state, path)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(UserError, match="cannot read|is no checkpoint|is a pickle"):
        read_checkpoint(str(path))


PIXELS = np.zeros((3, 8, 8, 3), dtype="u1")


def of(**arrays: Any) -> Callable[[h5py.File], None]:
    def write(file: h5py.File) -> None:
        for name, values in arrays.items():
            file[name] = values

    return write


def claims(file: h5py.File) -> None:
    file["pixels"] = PIXELS
    file.create_dataset("label", shape=(10**13,), dtype="i8", chunks=(2**16,))


def claims_names(file: h5py.File) -> None:
    file["pixels"] = PIXELS
    file.create_dataset("class_name", shape=(10**12,), dtype="S9", chunks=(2**16,))


def external_link(file: h5py.File) -> None:
    file["pixels"] = h5py.ExternalLink("/etc/passwd.h5", "/pixels")


def external_link_to_a_file(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["pixels"] = PIXELS
    file["pixels"] = h5py.ExternalLink("other.h5", "/pixels")


def external_storage(file: h5py.File) -> None:
    storage = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("pixels", shape=PIXELS.shape, dtype="u1", external=storage)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=PIXELS.shape, dtype="u1")
    layout[:] = h5py.VirtualSource("/etc/passwd.h5", "pixels", shape=PIXELS.shape)
    file.create_virtual_dataset("pixels", layout)


def many_images(file: h5py.File) -> None:
    file.create_dataset("pixels", shape=(10**9, 8, 8, 3), dtype="u1", chunks=(1000, 8, 8, 3))


def large_images(file: h5py.File) -> None:
    file.create_dataset("pixels", shape=(2, 10**6, 10**6, 3), dtype="u1", chunks=(1, 1000, 1000, 3))


def long_names(file: h5py.File) -> None:
    file["pixels"] = PIXELS
    file.create_dataset("path", shape=(3,), dtype="S2000000000", chunks=(1,))


def a_group(file: h5py.File) -> None:
    file["pixels"] = PIXELS[..., 0]
    file.create_group("label")


STACKS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "no pixels": (of(images2=PIXELS), "no dataset"),
    "real numbers": (of(pixels=PIXELS.astype("f4")), "uint8"),
    "colors first": (of(pixels=PIXELS.transpose(0, 3, 1, 2)), "uint8"),
    "no image": (of(pixels=PIXELS[:0]), "uint8"),
    "a number": (of(pixels=3), "uint8"),
    "too few labels": (of(pixels=PIXELS, label=[0, 1]), "label has 2 rows for 3 images"),
    "labels that are texts": (of(pixels=PIXELS, label=[b"a", b"b", b"c"]), "whole numbers"),
    "labels that are real numbers": (of(pixels=PIXELS, label=[0.5, 1, 2]), "whole numbers"),
    "labels beyond the names": (of(pixels=PIXELS, label=[0, 1, 9], class_name=[b"a"]), "goes beyond"),
    "negative labels": (of(pixels=PIXELS, label=[0, 1, -5]), "goes beyond"),
    "labels in a table": (of(pixels=PIXELS, label=np.zeros((3, 2), "i4")), "dimensions"),
    "concepts without names": (of(pixels=PIXELS, concept=np.zeros((3, 2))), "concept_label"),
    "masks of other images": (of(pixels=PIXELS, mask=np.zeros((2, 8, 8), "u1")), "mask must be"),
    "masks of another size": (of(pixels=PIXELS, mask=np.zeros((3, 4, 4), "u1")), "mask must be"),
    "masks of real numbers": (of(pixels=PIXELS, mask=np.zeros((3, 8, 8), "f4")), "mask must be"),
    "concepts that are NaN": (
        of(pixels=PIXELS, concept=np.full((3, 1), np.nan), concept_label=["a"]),
        "concept must be of 0 and 1; it has nan",
    ),
    "concepts that are counts": (
        of(pixels=PIXELS, concept=np.full((3, 1), 3), concept_label=["a"]),
        "concept must be of 0 and 1; it has 3",
    ),
    "images without end": (many_images, "claims"),
    "images of great size": (large_images, "claims"),
    "names of great length": (long_names, "claims 6 GB"),
    "a group for an array": (a_group, "uint8"),
    "classes without end": (of(pixels=PIXELS, label=[0, 1, 10**12]), "beyond 1000000 classes"),
    "labels of 64 bits": (of(pixels=PIXELS, label=np.array([0, 1, 2**64 - 1], dtype="u8")), "beyond 1000000 classes"),
    "labels without end": (claims, "label has 10000000000000 rows"),
    "names without end": (claims_names, "claims 1000000000000"),
    "a link to nowhere": (external_link, "no dataset|other files"),
    "a link to another file": (external_link_to_a_file, "other files"),
    "numbers in another file": (external_storage, "other files"),
    "a virtual dataset": (virtual, "other files"),
}


@pytest.mark.parametrize("name", STACKS)
def test_hdf5_files_of_images(tmp_path: Path, name: str) -> None:
    write, message = STACKS[name]
    with h5py.File(tmp_path / "i.h5", "w") as file:
        write(file)
    with pytest.raises(UserError, match=message):
        dataset(str(tmp_path / "i.h5"), str(tmp_path / "o.h5"), size=8)
    assert not (tmp_path / "o.h5").exists()


@pytest.mark.parametrize("write", [external_link_to_a_file, external_storage, virtual])
def test_embeddings_that_are_in_other_files(tmp_path: Path, write: Callable[[h5py.File], None]) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as file:
        write(file)
    with pytest.raises(UserError, match="other files"):
        read_embeddings(str(tmp_path / "e.h5"))


TABLES = {
    "path\n": "lists no images",
    "file,label\na.png,1\n": "no column 'path'",
    "path,path\na,b\n": "twice",
    "path,label\na.png\n": "line 2",
    "path,label\na.png,1,2\n": "line 2",
    'path,label\n"a.png,1\n': "",
    "path,label\n,1\n": "line 2",
}


@pytest.mark.parametrize("text", TABLES)
def test_tables_of_images(tmp_path: Path, text: str) -> None:
    (tmp_path / "i.csv").write_text(text)
    with pytest.raises(UserError, match=r"images: .*"):
        open_source(tmp_path / "i.csv")
        dataset(str(tmp_path / "i.csv"), str(tmp_path / "o.h5"), size=8)


LISTS: dict[str, list[Any]] = {
    "names.json": [[], {"a": 1}, {"a": ["zebra"]}, {"a": "b"}, [1], "a", None, {"a": [1]}],
    "texts.json": [{}, 3, None, [1, 2], [["a"]], [{"a": 1}], [None]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in LISTS.items() for value in values])
def test_lists_of_something_else(tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(UserError):
        READERS[name][1](str(tmp_path / name))


@pytest.mark.parametrize("legacy", [True, False])
def test_checkpoints_that_are_damaged_anywhere(tmp_path: Path, legacy: bool) -> None:
    """Readers of three formats raise anything; a user sees one line, or good weights."""
    path, rng = tmp_path / "w.pth", np.random.default_rng(0)
    torch.save({"a": torch.randn(8, 8)}, path, _use_new_zipfile_serialization=not legacy)
    right, n_told = path.read_bytes(), 0
    for place in rng.integers(0, len(right), 60).tolist():
        changed = bytearray(right)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed if place % 2 else changed[:place])
        try:
            read_checkpoint(str(path))
        except UserError:
            n_told += 1
    assert n_told > 20


def test_weights_that_are_whole_numbers_are_refused(tmp_path: Path) -> None:
    state = torch.nn.Linear(3, 2).state_dict()
    save_file({key: value.to(torch.int8) for key, value in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="no real numbers: weight torch.int8"):
        load_weights(torch.nn.Linear(3, 2), str(tmp_path / "w.safetensors"), "linear")


def test_numbers_of_64_bits_that_are_infinite_in_32(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.full((3, 4), 1e300))
    with pytest.raises(UserError, match="NaN or infinite in row 0"):
        read_embeddings(str(tmp_path / "e.npy"))
