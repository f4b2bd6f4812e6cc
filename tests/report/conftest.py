"""Fixtures of the explorer's tests: a report with hostile names, and a browser that is watched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purelens.report.explorer import explorer
from support.browser import CHROMIUM, CLASSES, EVIL, Watched
from support.pages import MadeUpLayer, write_images, write_lens

OUTSIDE = ("../benchmarks", "../bench/ratios.csv")
"""What the explorer reads besides pages; it is not there."""


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The explorer of two layers, one below the other, with hostile names and a dead neuron."""
    root = tmp_path_factory.mktemp("report")
    n_images, side = 60, 32
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, side, side, 3), dtype="u1")
    paths = [f"{CLASSES[i % 4]}/{i}{EVIL if i % 3 == 0 else ''}.png" for i in range(n_images)]
    write_images(root / "images.h5", pixels, CLASSES, paths, [(f"bad{EVIL}.png", "not an image")])
    words = (*CLASSES, "zebra", "null")
    upper = MadeUpLayer(root / "upper", root / "images.h5", "layer2", "layer1", dead=(4,), words=words)
    lower = MadeUpLayer(root / "lower", root / "images.h5", "layer1", "layer0", n_neurons=12)
    folders = []
    for layer in (upper, lower):
        layer.write(n_images, side)
        folders.append(layer.pages(root / "results/report", "photos", "net", patch_size=24, image_size=32))
    out = root / "results/report"
    lens = write_lens(root / "lens", root / "images.h5", [*CLASSES, "zebra", "null"], out, "photos")
    explorer(
        folders,
        [lens],
        f"{out}/index.html",
        f"{out}/assets",
        f"{out}/explorer.html",
        f"{out}/excerpt.html",
        *OUTSIDE,
        7,
    )
    return out


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []
