"""Put figures on one page that needs no other file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from purelens.report.templates import OPENS_WITHIN_A_PAGE, render
from purelens.storage.files import replace_when_whole

WIDTHS = (1000, 700, 500, 350, 250)
REST_OF_THE_PAGE = 100_000
"""Bytes of a page besides its figures, at most."""


def write_gallery(path: str | Path, title: str, figures: Sequence[Path]) -> None:
    """Write a page of figures.

    Parameters
    ----------
    path
        The page.
    title
        Its title.
    figures
        PNG files.
    """
    room = (OPENS_WITHIN_A_PAGE - REST_OF_THE_PAGE) // max(1, len(figures))
    shown = [(figure.stem.replace("_", " "), _embedded(figure, room)) for figure in figures]
    with replace_when_whole(path) as made:
        made.write_text(render("gallery.html", title=title, figures=shown), encoding="utf-8")


def _embedded(figure: Path, room: int) -> str:
    """Encode a figure as base64 of a JPEG that fits; the PNG beside the page is the one to print."""
    with Image.open(figure) as image:
        picture = image.convert("RGB")
    for width in WIDTHS:
        picture.thumbnail((width, 4 * width))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        data = base64.b64encode(buffer.getvalue()).decode()
        if len(data) <= room:
            break
    return data
