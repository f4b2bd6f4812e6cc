"""Image files of all kinds; what is wrong with a file, and what is wrong with the system."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from purelens.data import decoding
from purelens.data.decoding import BadImageError, decode
from purelens.errors import UserError
from support.images import gradient


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


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_an_error_of_the_system_is_no_fact_about_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is tried again, and stops the run when it stays."""
    path, left = tmp_path / "x.png", [1]
    Image.fromarray(gradient()).save(path)
    monkeypatch.setattr(decoding, "SECONDS_BEFORE_A_RETRY", (0.0,))
    read_bytes = Path.read_bytes

    def fails(self: Path) -> bytes:
        if left:
            left.pop()
            raise OSError(number, os.strerror(number))
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", fails)
    np.testing.assert_array_equal(np.asarray(decode(path)), gradient())
    left += [1, 1]
    with pytest.raises(UserError, match=f"the system does not read .*x.png: {os.strerror(number)}"):
        decode(path)


def test_damaged_exif_does_not_reject_good_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient()).save(tmp_path / "x.jpg", exif=exif, quality=95)
    data = (tmp_path / "x.jpg").read_bytes()
    at = data.index(b"Exif\0\0") + 6
    (tmp_path / "x.jpg").write_bytes(data[:at] + b"\xff" * 14 + data[at + 14 :])
    assert np.asarray(decode(tmp_path / "x.jpg")).shape == gradient().shape


def test_pixels_that_are_not_numbers(tmp_path: Path) -> None:
    pixels = np.full((24, 24), 0.5, dtype=np.float32)
    pixels[3, 4] = np.nan
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(BadImageError, match="NaN or infinite"):
        decode(tmp_path / "x.tif")


def test_only_decoders_of_pictures_are_used(tmp_path: Path) -> None:
    """PostScript would start Ghostscript."""
    (tmp_path / "x.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(BadImageError, match="not an image"):
        decode(tmp_path / "x.jpg")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(BadImageError, match="not a regular file"):
        decode(tmp_path / "x.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with pytest.raises(BadImageError, match="not a regular file"):
        decode(tmp_path / "zero.jpg")
