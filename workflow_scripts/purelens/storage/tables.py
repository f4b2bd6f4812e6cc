"""Tables as CSV files, whole or not at all."""

from pathlib import Path

import pandas as pd

from purelens.storage.files import replace_when_whole

NAMES = ("method", "embedder", "replacement", "class", "attack", "kind", "shown", "taken_for", "word", "prompt")
"""Columns of text, whatever the text looks like."""


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table; numbers with nine digits, missing values empty."""
    with replace_when_whole(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table; text such as 'nan' or 'None' in a column of names stays text."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(NAMES, str))
