"""Decode image files.

An image that cannot be decoded is rejected with the reason. An error of the system, such as a network file system that is away
for a moment or a process without file descriptors, says nothing about the image: it is tried again, and then stops the run.
"""

import errno
import io
import os
import stat
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from purelens.errors import UserError

EXTENSIONS = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".avif", ".jp2", ".mpo",
)  # fmt: skip

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000", "MPO")
"""Decoders that are used. Pillow knows more, and some of them start other programs: PostScript starts Ghostscript."""

ABOUT_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""Errors of the system that are facts about a path."""

MISSING = "the file does not exist"

MAX_BYTES = 2**30

SECONDS_BEFORE_A_RETRY = (0.2, 1.0)


class BadImageError(Exception):
    """Report an image that cannot be used, with the reason."""


def decode(path: Path) -> Image.Image:
    """Decode an image file as upright 8-bit RGB: its first frame, EXIF orientation applied, 16 bits scaled to 8.

    Raises
    ------
    BadImageError
        If the file is missing, empty, truncated or no image.
    UserError
        If the system does not read it.
    """
    for pause in (*SECONDS_BEFORE_A_RETRY, None):
        try:
            return _decode(path)
        except (OSError, MemoryError) as error:
            if pause is None:
                reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "out of memory"
                raise UserError(f"images: the system does not read {path}: {reason}; run again when it does") from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _decode(path: Path) -> Image.Image:
    """Decode once; an ``OSError`` is one of the system."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadImageError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise BadImageError(f"the file is larger than {MAX_BYTES // 2**30} GB")
        data = path.read_bytes()
    except OSError as error:
        if error.errno not in ABOUT_THE_FILE:
            raise
        raise BadImageError(MISSING if error.errno == errno.ENOENT else str(error.strerror)) from None
    if not data:
        raise BadImageError("the file is empty")
    return _decoded(data)


def _decoded(data: bytes) -> Image.Image:
    """Decode the bytes of a file: whatever fails now is a fact about them."""
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            image.seek(0)
            image.load()
            return _to_rgb(_upright(image))
    except (BadImageError, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise BadImageError("not an image") from None
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error on damaged files
        raise BadImageError(" ".join(str(error).split()) or type(error).__name__) from None


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF tags say; damaged tags say nothing, and the pixels are good without them."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow's parser raises whatever the damage leads to
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        gray = np.asarray(image, dtype=np.float64)
        if not np.isfinite(gray).all():
            raise BadImageError("pixels that are NaN or infinite")
        gray = gray * _scale(image.mode, float(gray.min(initial=0)), float(gray.max(initial=0)), gray)
        return Image.fromarray(np.rint(gray).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _scale(mode: str, lowest: float, highest: float, gray: np.ndarray) -> float:
    """Find the factor that makes bytes of pixels: of real numbers up to 1, of bytes, and of numbers of 16 bits."""
    if mode == "F" and lowest >= 0 and highest <= 1:
        return 255.0
    if lowest < 0 or highest > 65535 or (mode == "F" and (highest > 255 or (gray != np.rint(gray)).any())):
        raise BadImageError(
            f"pixels from {lowest:.3g} to {highest:.3g}, a range that is not known (0-1, 0-255 or 0-65535)"
        )
    return 255 / 65535 if highest > 255 or mode.startswith("I;16") else 1.0
