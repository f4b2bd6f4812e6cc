"""Take pictures of the explorer for the README: ``python -m purelens.report.screenshot INDEX_HTML PNG [--route ROUTE]``."""

import argparse
import shutil
from pathlib import Path

from purelens.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str | None:
    """Find a Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def screenshot(
    index_html: str, png: str, route: str = "", width: int = 1400, height: int = 900, dark: bool = False
) -> None:
    """Open the explorer in Chromium and take a picture of a view.

    Parameters
    ----------
    index_html, png
        The explorer, and where the picture goes.
    route
        Address of the view, e.g. ``#scene_cnn/layer3/neuron/9``.
    width, height
        Size of the window, in pixels.
    dark
        Whether to use the dark theme.

    Raises
    ------
    UserError
        If there is no explorer or no browser.
    """
    from playwright.sync_api import sync_playwright

    browser = find_browser()
    if browser is None:
        raise UserError(f"screenshot: none of {', '.join(BROWSERS)} is installed")
    if not Path(index_html).is_file():
        raise UserError(f"screenshot: there is no {index_html}; make it with: snakemake --cores all {index_html}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.goto(f"file://{Path(index_html).resolve()}{route}")
        page.wait_for_selector("html[data-view]")
        page.wait_for_timeout(2000)  # the charts are drawn after the first paint
        page.screenshot(path=png)
        chromium.close()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index_html")
    parser.add_argument("png")
    parser.add_argument("--route", default="")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    try:
        screenshot(**vars(parser.parse_args()))
    except UserError as error:
        parser.exit(1, f"purelens: {error}\n")


if __name__ == "__main__":
    main()
