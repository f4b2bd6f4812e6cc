"""The one exception that speaks to the user."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's, told in one line: what is wrong, where, and what would be valid."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the valid name nearest to this one, or nothing.

    Parameters
    ----------
    name
        What the user wrote.
    valid
        What could have been meant.
    """
    matches = difflib.get_close_matches(str(name), [str(v) for v in valid], n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def listed(names: Iterable[object], limit: int = 8) -> str:
    """Join names for a message, the first few of many."""
    items = [str(name) for name in names]
    more = f", ... ({len(items)} in all)" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
