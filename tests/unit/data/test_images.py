"""Images of all formats, their geometry, and sources that are none."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purelens.data.decoding import BadImageError, decode
from purelens.data.images import Geometry, open_source
from purelens.errors import UserError
from purelens.networks.imports import torchvision
from support.images import build, gradient


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "resize"), [(16, 16), (16, 20), (30, 33)])
def test_geometry_is_torchvisions(interpolation: str, size: int, resize: int) -> None:
    transforms = torchvision().transforms
    for shape in ((24, 36), (41, 17), (33, 33)):
        image = Image.fromarray(gradient(*shape))
        mode = transforms.InterpolationMode(interpolation)
        expected = transforms.CenterCrop(size)(transforms.Resize(resize, mode)(image))
        decoded = Geometry(size, resize, interpolation, 1).apply(image)
        np.testing.assert_array_equal(decoded, np.asarray(expected))


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
    source = open_source(folder)
    everything = tuple({Path(name).suffix for name in files})
    torchvisions = torchvision().datasets.ImageFolder(str(folder), is_valid_file=lambda name: name.endswith(everything))
    assert source.paths == [os.path.relpath(path, folder) for path, _ in torchvisions.samples]
    assert source.labels.tolist() == [label for _, label in torchvisions.samples]
    built = build(folder, tmp_path)
    assert len(built["pixels"]) == len(files) + 1
    assert built["rejected_path"] == ["dog/notes.txt"]


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


def test_a_strip_is_not_resized() -> None:
    with pytest.raises(BadImageError, match="1000000x8 pixels are a strip too long"):
        Geometry(16, 2000, "bilinear", 1).apply(Image.new("1", (1_000_000, 8)))
