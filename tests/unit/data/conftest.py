"""A source of images, good and bad."""

from pathlib import Path

import pytest
from PIL import Image

from support.images import gradient


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Good and bad images under names with spaces, quotes and Unicode."""
    folder = tmp_path / "messy images"
    for name in ('it\'s a "class"', "große Bäume 🌳", "<script>"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(gradient()).save(folder / name / f"photo {number} 'x' ü.png")
    first = folder / "<script>"
    (first / "broken.jpg").write_bytes(b"nothing")
    Image.new("RGB", (1, 1)).save(first / "dot.png")
    (first / "notes.txt").write_text("not to be read")
    return folder
