"""Figures on one page that needs no other file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from PIL import Image

from purelens.files import replace_when_whole

TEMPLATES = Path(__file__).parents[2] / "report"
WIDTHS = (1000, 700, 500, 350, 250)
OPENS_WITHIN_A_PAGE = 1_300_000
"""Bytes of a page that Chromium still opens within another, where it stands as base64: 2 MB of those."""


def write_gallery(path: str | Path, title: str, figures: Sequence[Path]) -> None:
    """Put PNG figures on a page, below a title."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), trim_blocks=True)
    room = OPENS_WITHIN_A_PAGE // max(1, len(figures))
    shown = [(figure.stem.replace("_", " "), _embedded(figure, room)) for figure in figures]
    with replace_when_whole(path) as made:
        page = environment.get_template("gallery.html").render(title=title, figures=shown)
        made.write_text(page, encoding="utf-8")


def _embedded(figure: Path, room: int) -> str:
    """A figure as it is shown on a screen, as base64 of a JPEG that fits; the PNG beside the page is the one to print."""
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
