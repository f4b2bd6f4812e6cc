"""Say in sentences what the scores of a layer show, and where its splits cannot be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from purelens.circuits.methods import ACTIVATIONS, ALL, CHOSEN, JOINT, POLYSEMANTIC, PURE
from purelens.circuits.planted_scores import CEILING
from purelens.circuits.planted_sets import CONTROL, EQUAL
from purelens.storage.tables import read_table

LEAST_CEILING = 0.5
"""Below this agreement with the truth under supervision no split can be trusted."""


@dataclass(frozen=True)
class EvidenceFiles:
    """Paths of the summaries of the rules ``monosemanticity``, ``selectivity`` and ``planted_scores``: one each, or none."""

    monosemanticity_summary_csv: Sequence[str] = ()
    selectivity_summary_csv: Sequence[str] = ()
    planted_summary_csv: Sequence[str] = ()


def evidence(files: EvidenceFiles, distances: pd.DataFrame, n_clusters: int) -> list[str]:
    """Say what the scores of a layer show.

    Parameters
    ----------
    files
        The summaries.
    distances
        Summary of the rule ``interpretability``.
    n_clusters
        Number of virtual neurons that is shown first.

    Returns
    -------
    list of str
        Sentences without their full stops; what was not measured is left out.
    """
    sentences: list[str | None] = []
    for path in files.planted_summary_csv:
        sentences += _of_planted(read_table(path))
    for path in files.monosemanticity_summary_csv:
        sentences += _of_monosemanticity(read_table(path))
    for path in files.selectivity_summary_csv:
        sentences += _of_selectivity(read_table(path))
    sentences += _of_gaps(distances[distances["n_clusters"] == n_clusters])
    return [sentence for sentence in sentences if sentence]


def _of_gaps(table: pd.DataFrame) -> list[str | None]:
    """Compare splits by circuits with splits by activations, neuron by neuron."""
    sentences: list[str | None] = []
    for embedder in table["embedder"].unique():
        told = [
            f"{method} {_interval(row, 3)}"
            for method in table["method"].unique()
            if method == JOINT or method.startswith(PURE)
            if (row := _row(table, _gap_over_activations(method, embedder))) is not None
        ]
        if told:
            sentences.append(
                f"Gap less that of a split by activations, mean over neurons ({embedder}): {', '.join(told)}"
            )
    return sentences


def _gap_over_activations(method: str, embedder: str) -> dict[str, str]:
    return {"method": method, "embedder": embedder, "quantity": f"gap over {ACTIVATIONS}"}


def _of_planted(table: pd.DataFrame) -> list[str | None]:
    planted = {"kind": EQUAL, "one_concept": False, "subset": "all", "quantity": "ari"}
    ceiling, joint = _row(table, {**planted, "method": CEILING}), _row(table, {**planted, "method": JOINT})
    controls = _row(table, {"kind": CONTROL, "method": CHOSEN, "quantity": "split", "subset": "all"})
    doubt = None
    if ceiling is not None and ceiling["mean"] < LEAST_CEILING:
        doubt = (
            "No split of this layer can be trusted: of planted neurons, which are sums of two of its neurons, even "
            "regression that is told the truth about all other references finds it with an adjusted Rand index of "
            f"{ceiling['mean']:.2f} only"
        )
    found = None
    if joint is not None and ceiling is not None:
        found = (
            f"Of {joint['n']} planted neurons the parts are found with an adjusted Rand index of {_interval(joint)}; "
            f"told the truth about all other references, with {_interval(ceiling)}"
        )
    split = None
    if controls is not None:
        split = f"Of {controls['n']} neurons on images of one class alone, {_percent(controls)} are split"
    return [doubt, found, split]


def _of_monosemanticity(table: pd.DataFrame) -> list[str | None]:
    chosen = {"method": CHOSEN, "quantity": "monosemanticity_gain", "subset": POLYSEMANTIC}
    return [
        f"MonoSemanticity score of the virtual neurons of {row['n']} polysemantic neurons, less that of random divisions "
        f"of the same sizes: {_interval(row, 3)} ({embedder})"
        for embedder in table["embedder"].unique()
        if (row := _row(table, {**chosen, "embedder": embedder})) is not None
    ]


def _of_selectivity(table: pd.DataFrame) -> list[str | None]:
    subset = POLYSEMANTIC if (table["subset"] == POLYSEMANTIC).any() else ALL
    area = _row(table, {"method": JOINT, "quantity": "selectivity", "subset": subset})
    gain = _row(table, {"method": JOINT, "quantity": f"selectivity over {ACTIVATIONS}", "subset": subset})
    if area is None:
        return []
    less = f"; less that of splits by activations: {_interval(gain, 3)}" if gain is not None else ""
    return [
        f"Causal selectivity of {area['n']} neurons, the fall on a virtual neuron's references less that on the others' "
        f"when what drives it is replaced: {_interval(area, 3)} of the activation{less}"
    ]


def _row(table: pd.DataFrame, names: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the only row with some names that has a mean; None without one."""
    chosen = table
    for name, value in names.items():
        chosen = chosen[chosen[name] == value]
    return None if len(chosen) == 0 or pd.isna(chosen.iloc[0]["mean"]) else chosen.iloc[0].to_dict()


def _interval(row: Mapping[str, Any], digits: int = 2) -> str:
    mean, low, high = (
        f"{round(row[name], digits) + 0.0:.{digits}f}" for name in ("mean", "low", "high")
    )  # never -0.00
    return mean if pd.isna(row["low"]) else f"{mean} [{low}, {high}]"


def _percent(row: Mapping[str, Any]) -> str:
    interval = "" if pd.isna(row["low"]) else f" [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"
    return f"{100 * row['mean']:.0f} %{interval}"
