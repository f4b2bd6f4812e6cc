"""Images of all formats, their geometry, and sources that are none."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purelens.data.images import BadImageError, Geometry, decode, open_source
from purelens.errors import UserError
from purelens.networks.imports import torchvision
from support.images import build, gradient


def test_grayscale_cmyk_palette_and_transparent_become_rgb(tmp_path: Path) -> None:
    rgb = Image.fromarray(gradient())
    for mode, suffix in (("L", "png"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")):
        path = tmp_path / f"{mode}.{suffix}"
        rgb.convert(mode).save(path)
        assert np.asarray(decode(path)).shape == (24, 36, 3)
    assert (np.asarray(decode(tmp_path / "L.png")).std(axis=2) == 0).all()


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    gray = (np.arange(24 * 36, dtype=np.uint16).reshape(24, 36) * 75).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    decoded = np.asarray(decode(tmp_path / "deep.png"))[:, :, 0]
    assert np.abs(decoded.astype(float) - gray / 257).max() <= 0.5


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert tuple(np.asarray(decode(tmp_path / "two.gif"))[5, 5]) == (255, 0, 0)


def test_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "turned.png")), np.rot90(gradient(), -1))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("text.png", b"this is no image at all", "not an image"),
        ("none.jpg", None, "does not exist"),
    ],
)
def test_bad_files_have_a_reason(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadImageError, match=reason):
        decode(tmp_path / name)


def test_truncated_file_has_a_reason(tmp_path: Path) -> None:
    for suffix in ("jpg", "png"):
        path = tmp_path / f"cut.{suffix}"
        Image.fromarray(gradient(200, 200)).save(path)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(BadImageError):
            decode(path)


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
