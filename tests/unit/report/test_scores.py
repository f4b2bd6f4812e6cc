"""Scores of clusterings on pages and on the overview."""

from pathlib import Path

import pandas as pd
import pytest

from purelens.report.data import read_data
from purelens.report.evidence import EvidenceFiles
from purelens.report.scores import mean_scores
from purelens.storage.tables import write_table
from support.pages import DEAD, EMBEDDER, MadeUpLayer


def test_pages_show_the_scores_of_their_clusterings(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    table = pd.read_csv(f"{made.folder}/monosemanticity.csv").set_index(["method", "n_clusters", "neuron"])
    for method in (f"pure:{made.lower}", "random"):
        for number in (0, 1):
            shown = read_data(folder / f"neurons/{number}.js")["clusterings"][method]
            for k in (2, 3):
                for name in ("monosemanticity", "monosemanticity_gain", "index_gain"):
                    assert shown[str(k)][name] == pytest.approx(table.loc[(method, k, number), name], rel=1e-3)
    columns = read_data(folder / "layer.js")["table"]
    assert columns["monosemanticity_gain"]["2"][DEAD] is None
    # a curve from 0 through 0.03 n and 0.06 n at 10 and 20 %: its mean is 0.03 n
    assert columns["selectivity"]["2"][:3] == pytest.approx([0, 0.03, 0.06])
    assert set(columns["selectivity"]["2"][3:]) == set(columns["selectivity"]["3"]) == {None}


def test_a_score_by_another_model_is_not_shown(layer: tuple[MadeUpLayer, Path]) -> None:
    _, folder = layer
    by_embedder = read_data(folder / "neurons/0.js")["clusterings"][f"embedder:{EMBEDDER}"]
    assert by_embedder["2"]["monosemanticity"] is None  # a split by an embedding model is not judged by it


def test_means_are_those_of_polysemantic_neurons_where_they_are_known(tmp_path: Path) -> None:
    columns = ["method", "n_clusters", "embedder", "quantity", "mean", "low", "high", "n", "subset"]
    rows = [
        ("joint", 2, "net", "monosemanticity_gain", 0.5, 0.4, 0.6, 9, "all"),
        ("joint", 2, "net", "monosemanticity_gain", 0.25, 0.125, 0.5, 4, "polysemantic"),
        ("joint", 3, "net", "monosemanticity_gain", 0.75, 0.5, 1.0, 4, "polysemantic"),
        ("joint with k chosen", 0, "net", "monosemanticity_gain", 0.375, 0.25, 0.5, 4, "polysemantic"),
        ("none", 1, "net", "monosemanticity_gain", None, None, None, 4, "polysemantic"),
    ]
    write_table(f"{tmp_path}/m.csv", pd.DataFrame(rows, columns=columns))
    causal = [("joint", 2, "selectivity", 0.0625, 0.03125, 0.125, 3, "polysemantic")]
    write_table(f"{tmp_path}/s.csv", pd.DataFrame(causal, columns=[name for name in columns if name != "embedder"]))
    found = mean_scores(EvidenceFiles([f"{tmp_path}/m.csv"], [f"{tmp_path}/s.csv"]), 2)
    assert [(row["method"], row["subset"], row["monosemanticity_gain"]["mean"]) for row in found] == [
        ("joint", "polysemantic", 0.25),
        ("joint with k chosen", "polysemantic", 0.375),
    ]
    assert found[0]["monosemanticity_gain"]["n"] == 4
    assert found[0]["selectivity"] == {"mean": 0.0625, "low": 0.03125, "high": 0.125, "n": 3}
    assert found[1]["selectivity"] is None
