"""Read and write tables as CSV files."""

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


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table atomically: numbers with nine digits, missing values empty."""
    with replace_when_whole(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_table` wrote."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(TEXT_COLUMNS, str))
