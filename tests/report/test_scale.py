"""The explorer of 2,048 neurons on photographs: size, time, memory, first paint, scrolling; where PURELENS_SCALE is set."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import DATA
from purelens.report.explorer import explorer
from support.browser import CHROMIUM
from support.pages import MadeUpLayer, write_images

pytestmark = pytest.mark.skipif(
    not (os.environ.get("PURELENS_SCALE") and DATA.is_dir() and CHROMIUM),
    reason="set PURELENS_SCALE; needs photographs and Chromium",
)

NEURONS, REFERENCES, SIDE = 2048, 20, 224
VISIBLE = """() => {
    const cards = [...document.querySelectorAll('.neuron')].filter(card => {
        const box = card.getBoundingClientRect();
        return box.bottom > 45 && box.top < innerHeight;
    });
    const images = cards.map(card => card.querySelector('img')).filter(Boolean);
    const wall = document.querySelector('.wall').getBoundingClientRect();
    const rows = Math.floor((Math.min(innerHeight, wall.bottom) - Math.max(45, wall.top)) / 138);
    return {cards: cards.length, rows, ready: images.filter(image => image.complete && image.naturalWidth).length};
}"""


def photographs() -> Iterator[np.ndarray]:
    """Square photographs, then their mirror images."""
    paths = [
        path
        for folder in ("imagenette", "imagenet", "flickr8k_clip")
        for path in sorted((DATA / folder).rglob("*.jpg"))
    ]
    for mirrored in (False, True):
        for path in paths:
            with Image.open(path) as image:
                side = min(image.size)
                left, top = (image.width - side) // 2, (image.height - side) // 2
                square = image.convert("RGB").crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
            yield np.asarray(square)[:, :: -1 if mirrored else 1]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scale")
    pixels = np.stack([*photographs()])
    n = len(pixels)
    write_images(root / "images.h5", pixels, [f"class {i}" for i in range(10)], [f"{i}.jpg" for i in range(n)], [])
    del pixels
    layer = MadeUpLayer(root / "layer", root / "images.h5", "layer4", "layer3", NEURONS, REFERENCES, 1024)
    layer.write(n, SIDE)
    out = root / "results/report"
    started = time.perf_counter()
    folder = layer.pages(out, "photos", "net")
    explorer(
        [folder],
        [],
        f"{out}/index.html",
        f"{out}/assets",
        f"{out}/explorer.html",
        f"{out}/excerpt.html",
        "../benchmarks",
        "none.csv",
    )
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\n{n} photographs: written in {seconds:.0f} s, {size / 2**20:.0f} MB, process with the photographs {peak:.1f} GB"
    )
    return out


def test_sizes(report: Path) -> None:
    assert (report / "index.html").stat().st_size < 2**20
    assert sum(path.stat().st_size for path in report.rglob("*") if path.is_file()) <= 250 * 2**20


def test_first_paint_and_scrolling(report: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"file://{report}/index.html")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.goto("about:blank")
        started = time.perf_counter()
        page.goto(f"file://{report}/index.html#net/layer4")
        page.wait_for_selector(".neuron img")
        wall = time.perf_counter() - started
        gaps = frames = 0
        for _ in range(150):
            page.mouse.wheel(0, 400)
            page.wait_for_timeout(16)
            seen = page.evaluate(VISIBLE)
            frames += 1
            gaps += seen["ready"] < seen["cards"] or seen["cards"] < 4 * seen["rows"]
        print(
            f"\nfirst paint {paint:.0f} ms, wall of {NEURONS} neurons after {wall:.1f} s, {gaps} of {frames} frames with a gap"
        )
        assert page.evaluate("scrollY") > 20_000
        browser.close()
        assert gaps == 0
