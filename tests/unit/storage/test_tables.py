"""Tables come back as they were, and hold nothing that a spreadsheet would compute."""

from pathlib import Path

import numpy as np
import pandas as pd

from purelens.storage.tables import read_table, write_table

WORDS = ["=cmd|' /C calc'!A0", "+1", "-x", "@sum", "\tx", "'=y", "''-z", "a=b", "nan", "'quoted'"]


def test_names_that_are_formulas(tmp_path: Path) -> None:
    table = pd.DataFrame({"word": WORDS, "score": np.linspace(-1, 1, len(WORDS)), "neuron": range(len(WORDS))})
    table.loc[3, "score"] = np.nan
    write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table, check_dtype=False)
    written = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)["word"]
    assert not written.str.match(r"[=+\-@\t\r]").any()
    assert written.tolist()[-3:] == ["a=b", "nan", "'quoted'"]


def test_numbers_below_zero_stay_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", pd.DataFrame({"score": [-1.5, 2], "many": pd.array([-3, None], dtype="Int64")}))
    assert (tmp_path / "t.csv").read_text() == "score,many\n-1.5,-3\n2,\n"
