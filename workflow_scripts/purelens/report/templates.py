"""Fill in the page templates."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

TEMPLATES_FOLDER = Path(__file__).parents[2] / "report"
OPENS_WITHIN_A_PAGE = 1_400_000
"""Bytes of a page that Chromium still opens within another one: as base64 they are 2 MB."""


def render(template: str, **values: Any) -> str:
    """Fill in a template; what is not marked as HTML is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_FOLDER), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)
