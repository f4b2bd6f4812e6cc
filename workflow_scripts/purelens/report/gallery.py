"""Figures on one page that needs no other file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from PIL import Image

from purelens.files import replace_when_whole

TEMPLATES = Path(__file__).parents[2] / "report"
WIDTH = 1000


def write_gallery(path: str | Path, title: str, figures: Sequence[Path]) -> None:
    """Put PNG figures on a page, below a title."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), trim_blocks=True)
    shown = [(figure.stem.replace("_", " "), _embedded(figure)) for figure in figures]
    with replace_when_whole(path) as made:
        page = environment.get_template("gallery.html").render(title=title, figures=shown)
        made.write_text(page, encoding="utf-8")


def _embedded(figure: Path) -> str:
    """A figure as it is shown on a screen, as base64 of a JPEG; the PNG beside the page is the one to print."""
    with Image.open(figure) as image:
        picture = image.convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
