"""Images of all formats, and sources that are none."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purelens.data.decoding import decode
from purelens.data.sources import open_source
from purelens.errors import UserError
from purelens.networks.imports import torchvision
from support.images import build, gradient


def test_class_folder_without_images(messy: Path, tmp_path: Path) -> None:
    (messy / "void").mkdir()
    with pytest.raises(UserError, match="class folder .*void has no images"):
        build(messy, tmp_path)
    with pytest.raises(UserError, match="has no class folders"):
        build(messy / "void", tmp_path)


def test_table_of_paths(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.fromarray(gradient()).save(tmp_path / "photos" / f"{number}.png")
    table = tmp_path / "table.csv"
    table.write_text(
        'path,label,caption\nphotos/0.png,10,"a, b"\nphotos/1.png,9,\nphotos/2.png,,c\nphotos/3.png,10,nan\n'
    )
    decoded = build(table, tmp_path)
    assert decoded["class_name"] == ["9", "10"]
    assert decoded["label"].tolist() == [1, 0, -1, 1]
    assert decoded["caption"] == ["a, b", "", "c", "nan"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paths,label\na.png,1\n", r"no column 'path' \(did you mean 'paths'\?\)"),
        ("path,label\n", "lists no images"),
        ("path,label\n,3\n", "no path in line 2"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=message):
        open_source(table)


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("not hdf5")
    (tmp_path / "x.zip").write_text("")
    for name, message in (("gone", "does not exist"), ("x.h5", "as HDF5"), ("x.zip", "neither a folder")):
        with pytest.raises(UserError, match=message):
            open_source(tmp_path / name)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(gradient()).save(folder / "x.png")
    (folder / "x.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    assert build(tmp_path / "images", tmp_path)["path"] == ["a/caf\\udce9.png"]


def test_dark_deep_images_stay_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 200, dtype=np.uint16)).save(tmp_path / "dark.png")
    assert np.asarray(decode(tmp_path / "dark.png")).max() == 1
    Image.fromarray(np.full((20, 20), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    assert np.asarray(decode(tmp_path / "float.tif")).max() == 128


def test_a_folder_is_listed_as_torchvision_lists_it(tmp_path: Path) -> None:
    """Also links to folders and files; all formats; files of other kinds are rejected by name."""
    folder, other = tmp_path / "folder", tmp_path / "other"
    files = [
        "cat/b.png",
        "cat/a/x.png",
        "cat/a-b/y.png",
        "dog/c.png",
        "dog/d.jfif",
        "dog/e.jp2",
        "dog/f.mpo",
        "dog/g.avif",
    ]
    for path in (*(folder / name for name in files), other / "linked.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gradient()).save(path, {".jfif": "JPEG", ".jp2": "JPEG2000"}.get(path.suffix))
    (folder / "dog/part").symlink_to(other)
    (folder / "dog/notes.txt").write_text("")
    (folder / "dog/.hidden.png").write_bytes((folder / "dog/c.png").read_bytes())
    (folder / "dog/._c.png").write_bytes(b"what another system knows about the file")
    (folder / ".cache").mkdir()
    (folder / ".cache/thumb.png").write_bytes((folder / "dog/c.png").read_bytes())
    (folder / "beside.png").write_bytes((folder / "dog/c.png").read_bytes())
    source = open_source(folder)
    everything = tuple({Path(name).suffix for name in files})
    (folder / ".cache").rename(tmp_path / "cache")  # torchvision takes a hidden folder for a class
    torchvisions = torchvision().datasets.ImageFolder(str(folder), is_valid_file=lambda name: name.endswith(everything))
    (tmp_path / "cache").rename(folder / ".cache")
    assert source.paths == [os.path.relpath(path, folder) for path, _ in torchvisions.samples]
    assert source.labels.tolist() == [label for _, label in torchvisions.samples]
    built = build(folder, tmp_path)
    assert len(built["pixels"]) == len(files) + 2
    assert dict(zip(built["rejected_path"], built["rejected_reason"], strict=True)) == {
        ".cache/thumb.png": "not in a class folder",
        "beside.png": "not in a class folder",
        "dog/notes.txt": "not the name of an image file",
        "dog/._c.png": "not an image",
    }


def test_a_folder_that_holds_itself(tmp_path: Path) -> None:
    (tmp_path / "f/cat").mkdir(parents=True)
    Image.fromarray(gradient()).save(tmp_path / "f/cat/x.png")
    (tmp_path / "f/cat/again").symlink_to(tmp_path / "f")
    with pytest.raises(UserError, match="cat/again is a link to a folder that it lies in"):
        open_source(tmp_path / "f")


@pytest.mark.parametrize("header", ["path, label", "Path,LABEL", " path ,label"])
def test_spaces_and_capitals_of_a_header(tmp_path: Path, header: str) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(f"{header}\na.png,7\n")
    assert open_source(tmp_path / "t.csv").classes == ["7"]
    (tmp_path / "t.csv").write_text("path,label, Label\na.png,7,8\n")
    with pytest.raises(UserError, match="has the column 'label' twice"):
        open_source(tmp_path / "t.csv")
