"""The exception for mistakes of the user's, and the phrases its messages share."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Report a mistake of the user's in one line: what is wrong, where, and what would be valid."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Suggest the valid name nearest to a wrong one.

    Parameters
    ----------
    name
        What the user wrote.
    valid
        The names that exist.

    Returns
    -------
    str
        `` (did you mean 'x'?)``, or nothing where no name is near.
    """
    matches = difflib.get_close_matches(str(name), [str(v) for v in valid], n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def listed(names: Iterable[object], limit: int = 8) -> str:
    """Join names for a message: the first ones, and how many there are in all."""
    items = [str(name) for name in names]
    more = f", ... ({len(items)} in all)" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
