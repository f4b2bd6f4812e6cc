"""Sentences about what scores show."""

from pathlib import Path

import pandas as pd
import pytest

from purelens.report.evidence import EvidenceFiles, evidence
from purelens.storage.tables import write_table

NUMBERS = ("mean", "low", "high", "n")


def table(path: Path, names: list[str], rows: list[tuple[object, ...]]) -> list[str]:
    write_table(path, pd.DataFrame(rows, columns=[*names, *NUMBERS]))
    return [str(path)]


NO_GAPS = pd.DataFrame(columns=["method", "n_clusters", "embedder", "quantity", *NUMBERS])


def told(**files: list[str]) -> list[str]:
    return evidence(EvidenceFiles(**files), NO_GAPS, 2)


def planted(path: Path, ceiling: float) -> list[str]:
    names = ["kind", "one_concept", "subset", "method", "quantity"]
    return table(
        path,
        names,
        [
            ("equal", False, "all", "joint", "ari", 0.4, 0.3, 0.5, 40),
            ("equal", True, "all", "joint", "ari", 0.9, 0.8, 1.0, 40),
            ("equal", False, "all", "supervised ceiling", "ari", ceiling, 0.4, 0.6, 40),
            ("control", True, "all", "joint with k chosen", "split", 0.03, 0.0, 0.09, 32),
        ],
    )


def test_a_low_ceiling_is_told(tmp_path: Path) -> None:
    low = told(planted_summary_csv=planted(tmp_path / "p.csv", 0.49))
    assert low[0].startswith("No split of this layer can be trusted")
    assert "0.49" in low[0]
    high = told(planted_summary_csv=planted(tmp_path / "p.csv", 0.5))
    assert high == [
        "Of 40 planted neurons the parts are found with an adjusted Rand index of 0.40 [0.30, 0.50]; told the truth about all "
        "other references, with 0.50 [0.40, 0.60]",
        "Of 32 neurons on images of one class alone, 3 % [0, 9] are split",
    ]


@pytest.mark.parametrize("subset", ["polysemantic", "all"])
def test_scores_are_told_with_their_intervals(tmp_path: Path, subset: str) -> None:
    chosen = table(
        tmp_path / "m.csv",
        ["method", "n_clusters", "embedder", "quantity", "subset"],
        [("joint with k chosen", 0, "clip", "monosemanticity_gain", "polysemantic", 0.02, 0.01, 0.03, 20)],
    )
    areas = table(
        tmp_path / "s.csv",
        ["method", "quantity", "subset"],
        [
            ("joint", "selectivity", subset, 0.2, 0.1, 0.3, 16),
            ("joint", "selectivity over activations", subset, -0.01, -0.02, -0.0001, 16),
        ],
    )
    sentences = told(monosemanticity_summary_csv=chosen, selectivity_summary_csv=areas)
    assert "20 polysemantic neurons" in sentences[0]
    assert "0.020 [0.010, 0.030] (clip)" in sentences[0]
    assert "0.200 [0.100, 0.300] of the activation" in sentences[1]
    assert "-0.010 [-0.020, 0.000]" in sentences[1]


def test_methods_are_compared_neuron_by_neuron() -> None:
    rows = [
        ("pure:layer2", 2, "clip", "gap over activations", -0.1, -0.2, -0.05, 30),
        ("joint", 2, "clip", "gap over activations", 0.1, 0.05, 0.2, 30),
        ("joint", 3, "clip", "gap over activations", 0.9, 0.8, 1.0, 30),
        ("embedder:net", 2, "clip", "gap over activations", 0.5, 0.4, 0.6, 30),
        ("joint", 2, "clip", "gap", 0.3, 0.2, 0.4, 30),
    ]
    gaps = pd.DataFrame(rows, columns=NO_GAPS.columns)
    assert evidence(EvidenceFiles(), gaps, 2) == [
        "Gap less that of a split by activations, mean over neurons (clip): pure:layer2 -0.100 [-0.200, -0.050], joint 0.100 "
        "[0.050, 0.200]"
    ]


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    empty = table(tmp_path / "s.csv", ["method", "n_clusters", "quantity", "standard_error", "subset"], [])
    assert told(selectivity_summary_csv=empty) == []
    assert told() == []
