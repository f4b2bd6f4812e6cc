"""Read and write tables as CSV files."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from purelens.storage.files import replace_when_whole

TEXT_COLUMNS = (
    "method",
    "embedder",
    "replacement",
    "class",
    "attack",
    "kind",
    "source_class",
    "target_class",
    "word",
    "prompt",
)
"""Columns of names: 'nan', 'None' or '1' in them are text."""


FORMULA = re.compile(r"\A'*[=+\-@\t\r\n]")
"""How a name begins that a spreadsheet would compute, or one that was written with a quote before it."""


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table atomically: numbers with nine digits, missing values empty, a quote before names like formulas."""
    with replace_when_whole(path) as temporary:
        _texts_changed(table, lambda text: f"'{text}").to_csv(temporary, index=False, float_format="%.9g")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(TEXT_COLUMNS, str))
    return _texts_changed(table, lambda text: text.removeprefix("'"))


def _texts_changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Change the texts of a table that are like formulas."""

    def changed(value: object) -> object:
        return change(value) if isinstance(value, str) and FORMULA.match(value) else value

    texts = [name for name in table if pd.api.types.is_object_dtype(table[name]) or table[name].dtype == "str"]
    return table.assign(**{str(name): table[name].map(changed) for name in texts})
