"""Files that are no images, or half of one: each is decoded or listed with its reason, and the others are not lost."""

import errno
import io
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from purelens.data.dataset import dataset
from purelens.data.sources import open_source
from purelens.errors import UserError
from purelens.reruns.digests import Digests, source_digest
from purelens.storage.reading import strings

FORMATS = {
    "jpg": "JPEG",
    "png": "PNG",
    "bmp": "BMP",
    "gif": "GIF",
    "tif": "TIFF",
    "webp": "WEBP",
    "ppm": "PPM",
    "jp2": "JPEG2000",
}
N_GOOD = 4


def encoded(suffix: str, seed: int = 0) -> bytes:
    """An image of 24x24 pixels in a format."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC).save(buffer, FORMATS[suffix])
    return buffer.getvalue()


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG that claims a size, with compressed rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def flipped(data: bytes, share: float) -> bytes:
    changed = bytearray(data)
    changed[int(len(data) * share)] ^= 0x20
    return bytes(changed)


def cut() -> dict[str, bytes]:
    """Every format, cut off at four places."""
    return {f"cut{i}.{s}": encoded(s)[: len(encoded(s)) * i // 10] for s in FORMATS for i in (1, 4, 7, 9)}


def hurt() -> dict[str, bytes]:
    """Every format, with one bit flipped at five places."""
    return {f"bit{i}.{s}": flipped(encoded(s), i / 10) for s in FORMATS for i in (0, 1, 3, 6, 9)}


def strange() -> dict[str, bytes]:
    """Bombs, programs, and files of other kinds under the names of images."""
    return {
        "empty.png": b"",
        "zeros.jpg": bytes(5000),
        "noise.jpg": np.random.default_rng(0).bytes(5000),
        "text.png": b"not an image",
        "page.jpg": b"<html><script>alert(1)</script></html>",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "program.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\nshowpage\n",
        "paper.png": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
        "archive.jpg": b"PK\x03\x04" + bytes(100),
        "pickle.png": b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.",
        # two sides of it are cut off before it is resized
        "wide.png": png(1_000_000, 8, bytes(8 * 3_000_001)),
        "claims_much.png": png(60_000, 60_000, b"\0"),
        "claims_more.png": png(2**31 - 1, 2**31 - 1, b"\0"),
        "nothing.png": png(0, 0, b""),
        "short_rows.png": png(24, 24, bytes(10)),
        "claims.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";",
        "claims.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
        "claims.ppm": b"P6 999999 999999 255\n",
        "lies.png": encoded("jpg"),  # another format than its name says is an image all the same
        "tiny.png": png(1, 1, b"\0\1\2\3"),
    }


ATTACKS = {**cut(), **hurt(), **strange()}


def odd_files(folder: Path) -> None:
    """What is no regular file."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "broken.png").symlink_to(folder / "none.png")
    (folder / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(os.path.relpath(folder / "socket.png"))


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All of them in one folder, with some good images, through the rule ``dataset``."""
    folder = tmp_path_factory.mktemp("attacked") / "images" / "one"
    folder.mkdir(parents=True)
    for name, data in ATTACKS.items():
        (folder / name).write_bytes(data)
    odd_files(folder)
    for number in range(N_GOOD):
        (folder / f"good{number}.png").write_bytes(encoded("png", number))
    dataset(str(folder.parent), str(folder.parents[1] / "i.h5"), size=16)
    with h5py.File(folder.parents[1] / "i.h5") as file:
        rejected = zip(strings(file["rejected_path"]), strings(file["rejected_reason"]), strict=True)
        return {
            "folder": folder,
            "kept": strings(file["path"]),
            "rejected": dict(rejected),
            "pixels": file["pixels"][...],
        }


def test_every_file_is_decoded_or_listed(decoded: dict[str, Any]) -> None:
    names = {f"one/{path.name}" for path in decoded["folder"].iterdir() if path.name != "folder.jpg"}
    listed = {*decoded["kept"], *decoded["rejected"]}
    assert names <= listed
    assert not set(decoded["kept"]) & set(decoded["rejected"])
    assert all(decoded["rejected"].values())
    assert len(ATTACKS) > 90


def test_good_images_are_untouched(decoded: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for number in range(N_GOOD):
        (tmp_path / "one" / f"good{number}.png").write_bytes(encoded("png", number))
    dataset(str(tmp_path), str(tmp_path / "i.h5"), size=16)
    with h5py.File(tmp_path / "i.h5") as file:
        alone = file["pixels"][...]
    places = [decoded["kept"].index(f"one/good{number}.png") for number in range(N_GOOD)]
    np.testing.assert_array_equal(decoded["pixels"][places], alone)


@pytest.mark.parametrize("name", [*strange(), "pipe.jpg", "zero.jpg", "loop.png", "broken.png", "socket.png"])
def test_what_is_no_image_is_rejected(decoded: dict[str, Any], name: str) -> None:
    assert (f"one/{name}" in decoded["rejected"]) == (name not in ("lies.png", "wide.png"))


def test_what_is_cut_off_is_rejected(decoded: dict[str, Any]) -> None:
    """A format whose decoder gives pixels for half a file would be told by this."""
    kept = {name for name in cut() if f"one/{name}" in decoded["kept"]}
    assert kept <= {"cut9.gif", "cut9.tif", "cut9.jp2", "cut7.jp2", "cut4.jp2"}, kept


def test_a_folder_that_cannot_be_listed_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missing without a word."""
    for name in ("a/1.png", "a/b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded("png"))
    scan = os.scandir

    def fails(path: Any) -> Any:
        if str(path).endswith("/b"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", fails)
    with pytest.raises(UserError, match="the system does not list .*b: Input/output error"):
        dataset(str(tmp_path), str(tmp_path / "i.h5"), size=16)


def test_an_image_that_was_away_for_a_moment_is_no_missing_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    for number in range(3):
        (tmp_path / f"a/{number}.png").write_bytes(encoded("png", number))
    look, away = Path.stat, ["1.png"]

    def stat(path: Path, **options: Any) -> os.stat_result:
        if path.name in away:
            away.remove(path.name)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return look(path, **options)

    source = open_source(tmp_path)
    monkeypatch.setattr("purelens.data.dataset.open_source", lambda images: source)
    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(UserError, match="1.png was not there for a moment"):
        dataset(str(tmp_path), str(tmp_path / "i.h5"), size=16)


def test_what_is_no_file_does_not_hold_the_plan(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(encoded("png"))
    os.mkfifo(tmp_path / "a/2.png")
    (tmp_path / "a/3.png").symlink_to("/dev/zero")
    assert source_digest(tmp_path, Digests())
    assert Digests().of(tmp_path / "a/2.png") == "no file"


def test_damaged_images_of_a_stack_are_rejected(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
        data = file.create_dataset("pixels", data=pixels, chunks=(1, 16, 16, 3), compression="gzip")
        place = data.id.get_chunk_info(2).byte_offset + 40
    content = bytearray((tmp_path / "s.h5").read_bytes())
    content[place : place + 30] = bytes(30)
    (tmp_path / "s.h5").write_bytes(content)
    dataset(str(tmp_path / "s.h5"), str(tmp_path / "i.h5"), size=16)
    with h5py.File(tmp_path / "i.h5") as file:
        assert len(file["pixels"]) == 3
        assert "cannot be read" in strings(file["rejected_reason"])[0]
