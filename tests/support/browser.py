"""A browser that complains, and names that would like to be programs."""

from pathlib import Path
from typing import Any

import pytest

from purelens.report.screenshot import find_browser

CHROMIUM = find_browser()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")

EVIL = '<script>window.stolen=1</script><img src=x onerror="window.stolen=1">'
RTL = "\u05d7\u05ea\u05d5\u05dc \u202eevil"
CLASSES = [EVIL, 'it\'s "quoted" & </script>', RTL, "x" * 300]


class Watched:
    """A page, and what it complained of or asked the network for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self.said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requested(request.url))

    def said(self, message: Any) -> None:
        """No errors, no warnings."""
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def requested(self, url: str) -> None:
        """Nothing but files."""
        if not url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"asked for {url}")

    def open(self, path: Path, route: str = "") -> Any:
        """Go to a view and wait for it."""
        self.page.goto(f"file://{path}{route}")
        self.page.wait_for_selector("html[data-view]")
        return self.page
