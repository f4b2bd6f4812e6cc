"""The first screen says what is in the tables."""

from pathlib import Path

import pandas as pd
import pytest

from purelens.report.data import read_data
from purelens.report.overview import benchmarks, finding, ratios, route_names
from support.pages import DEAD, MadeUpLayer


def test_the_finding_is_that_of_the_tables(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    whole = read_data(folder / "layer.js")
    table = pd.read_csv(made.folder / "distances.csv")
    judged = table[(table.method == "pure:layer1") & (table.n_clusters == 2)]
    said = finding(whole["facts"], whole["table"])
    assert said["n"] == judged.gap.notna().sum() == 4
    assert said["positive"] == (judged.gap > 0).sum()
    assert said["gap"] == pytest.approx(judged.gap.mean() / judged.intra.mean(), rel=1e-3)
    assert whole["table"]["gap"]["2"][DEAD] is None


def test_links_name_the_dataset_only_where_there_are_several() -> None:
    one = {"dataset": "a", "model": "m", "layer": "l"}
    assert route_names([one, one | {"layer": "k"}]) == ["m/l", "m/k"]
    assert route_names([one, one | {"dataset": "b"}]) == ["a/m/l", "b/m/l"]


def test_benchmarks_are_added_up(tmp_path: Path) -> None:
    for name, row in {"dataset/a.tsv": "2.5\t100", "dataset/b.tsv": "1.5\t300", "explorer.tsv": "9\tNA"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"s\tmax_rss\n{row}\n")
    assert benchmarks(tmp_path) == [
        {"rule": "explorer", "jobs": 1, "seconds": 9.0, "megabytes": 0.0},
        {"rule": "dataset", "jobs": 2, "seconds": 4.0, "megabytes": 300.0},
    ]
    assert benchmarks(tmp_path / "missing") == []
    assert ratios(tmp_path / "missing.csv") == []
