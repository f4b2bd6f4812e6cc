"""Read tables of the user's: CSV files with a header, of which some columns are known."""

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path

from purelens.errors import listed, nearest
from purelens.storage.files import read_text

EXACT = "path"
"""A column whose values are taken with the spaces around them."""

ALMOST = 0.75
"""Similarity from which a name is taken for another one that was mistyped."""


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a table. Nothing in it is lost in silence.

    Parameters
    ----------
    path
        The table. In the names of known columns, spaces and capitals do not count.
    required, optional
        Names of the known columns.

    Returns
    -------
    list
        For each row the number of its line, and the values of the known columns that the table has, without spaces around them
        (but for a path).

    Raises
    ------
    OSError, csv.Error
        If it cannot be read.
    ValueError
        If a column is missing, there twice, or has a name that is almost one of the known; or if a row is longer or shorter
        than the header, or a quote is not closed.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    known = (*required, *optional)
    columns: list[str] = []
    rows = []
    for cells in reader:
        if not columns:
            columns = _columns(cells, required, known)
        elif cells:
            if len(cells) != len(columns):
                lengths = f"line {reader.line_num} has {len(cells)} values, the header {len(columns)}"
                raise ValueError(f"{lengths}; values with commas are put in quotes")
            values = zip(columns, cells, strict=True)
            row = {name: cell if name == EXACT else cell.strip() for name, cell in values if name in known}
            rows.append((reader.line_num, row))
    if not columns:
        raise ValueError("it is empty")
    return rows


def _columns(header: Sequence[str], required: Sequence[str], known: Sequence[str]) -> list[str]:
    names = [name.strip().lower() if name.strip().lower() in known else name for name in header]
    for name in known:
        if names.count(name) > 1:
            raise ValueError(f"it has the column {name!r} twice; it has {listed(header)}")
    for name in required:
        if name not in names:
            raise ValueError(f"it has no column {name!r}{nearest(name, names)}; it has {listed(header)}")
    check_names(names, known, "column")
    return names


def check_names(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Refuse names that are almost one of the known, which is not there: what they name would count for nothing.

    Parameters
    ----------
    names, known
        The names that are there, and the known ones.
    what
        What they are names of, for the message.

    Raises
    ------
    ValueError
        With the name, and the known one.
    """
    absent = [name for name in known if name not in names]
    for name in names:
        meant = difflib.get_close_matches(name.strip().lower(), absent, n=1, cutoff=ALMOST) if name not in known else []
        if meant:
            raise ValueError(
                f"it has the {what} {name!r}, which is not known; rename it, to {meant[0]!r} if it is that"
            )
