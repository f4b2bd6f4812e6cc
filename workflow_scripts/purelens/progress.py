"""Report the progress of long work: a bar on a terminal, timed lines in a log."""

import logging
import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0

logger = logging.getLogger("purelens")


class Progress:
    """Count finished items of work, in a ``with`` block.

    Parameters
    ----------
    total
        Number of items.
    task
        Name of the work, for the message.
    unit
        What an item is called, in the plural.
    done
        Items that an earlier job has finished.
    """

    def __init__(self, total: int, task: str, unit: str, done: int = 0) -> None:
        self._total, self._task, self._unit = total - done, task, unit
        self._done = 0
        self._bar = tqdm(total=total - done, desc=task, unit=f" {unit}", leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        self._started = self._last = time.perf_counter()
        return self

    def advance(self, n_items: int) -> None:
        """Count this many more items as finished."""
        self._done += n_items
        if self._bar is not None:
            self._bar.update(n_items)
        now = time.perf_counter()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            left = (now - self._started) / max(self._done, 1) * (self._total - self._done)
            logger.info("%s: %d of %d %s, %s left", self._task, self._done, self._total, self._rate(now), _clock(left))

    def _rate(self, now: float) -> str:
        return f"{self._unit}, {self._done / max(now - self._started, 1e-9):.1f}/s"

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        now = time.perf_counter()
        logger.info("%s: %d %s in %.1f s", self._task, self._done, self._rate(now), now - self._started)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
