"""Collect what the first screen of the explorer shows."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purelens.circuits.methods import ACTIVATIONS, RANDOM
from purelens.storage.tables import read_table


def overview(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Collect what the first screen shows of each layer.

    Parameters
    ----------
    layers
        What the rule ``pages`` wrote: ``facts``, ``table`` and ``lines`` of each.
    """
    routes = route_names([layer["facts"] for layer in layers])
    return [_card(layer, route) for layer, route in zip(layers, routes, strict=True)]


def route_names(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name layers in links: by model and layer, and by dataset where there are several."""
    several = len({fact["dataset"] for fact in facts}) > 1
    return ["/".join([*([fact["dataset"]] if several else []), fact["model"], fact["layer"]]) for fact in facts]


def lenses(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name the CLIPs under the lens in links, from what the rule ``lens_pages`` wrote of each."""
    several = len({of_clip["dataset"] for of_clip in facts}) > 1
    return [
        {name: of_clip[name] for name in ("key", "dataset", "embedder")}
        | {"route": "/".join(["lens", *([of_clip["dataset"]] if several else []), of_clip["embedder"]])}
        for of_clip in facts
    ]


def _card(layer: Mapping[str, Any], route: str) -> dict[str, Any]:
    facts, table, lines = layer["facts"], layer["table"], layer["lines"]
    return {
        "route": route,
        "facts": {name: facts[name] for name in facts if name != "provenance"},
        "n_neurons": len(table["neurons"]),
        "n_dead": sum(line["n"] == 0 for line in lines),
        "finding": finding(facts, table),
        "examples": [_example(facts, table, lines, row) for row in facts["examples"]],
        "gap": table["gap"][str(facts["k"])],
        "provenance": facts["provenance"],
    }


def finding(facts: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the numbers of the sentence that says what was found in a layer.

    Parameters
    ----------
    facts, table
        Of the layer (see `purelens.report.layers`).

    Returns
    -------
    dict
        Of ``n`` neurons that can be judged, ``positive`` have a gap above zero, and ``random_positive`` where they are split
        at random. ``gap``, ``random`` and ``activations``: mean gap as a share of the distance within a virtual neuron, for
        PURE and for two baselines (None where they were not computed).
    """
    gaps = np.array([value for value in table["gap"][str(facts["k"])] if value is not None], dtype=float)
    return {
        "n": len(gaps),
        "positive": int((gaps > 0).sum()),
        "random_positive": facts["random_gaps"],
        "gap": _relative_gap(facts, facts["method"]),
        "random": _relative_gap(facts, RANDOM),
        "activations": _relative_gap(facts, ACTIVATIONS),
    }


def _relative_gap(facts: Mapping[str, Any], method: str) -> float | None:
    chosen = {"method": method, "n_clusters": facts["k"], "embedder": facts["embedders"][0]}
    means = {
        row["quantity"]: row["mean"]
        for row in facts["summaries"]["interpretability"]
        if all(row[name] == value for name, value in chosen.items())
    }
    return means["gap"] / means["intra"] if means.get("gap") is not None and means.get("intra") else None


def _example(facts: Mapping[str, Any], table: Mapping[str, Any], lines: Sequence[Any], row: int) -> dict[str, Any]:
    line = lines[row]
    names = facts["class_names"]
    virtual_neurons = [v | {"name": names[v["class"]] if v["class"] >= 0 else ""} for v in line["virtual_neurons"]]
    of_line = {"shown": line["shown"], "n": line["n"], "virtual_neurons": virtual_neurons}
    return {"number": table["neurons"][row], **of_line}


def benchmarks(folder: Path) -> list[dict[str, Any]]:
    """Add up the time of the last jobs of each rule, with their largest memory; the longest rule comes first."""
    rules: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
                rules.setdefault(rule, []).append((_number(row.get("s")), _number(row.get("max_rss"))))
    rows = [
        {"rule": rule, "jobs": len(jobs), "seconds": sum(s for s, _ in jobs), "megabytes": max(m for _, m in jobs)}
        for rule, jobs in rules.items()
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def ratios(path: Path) -> list[dict[str, Any]]:
    """Read the table of ``snakemake bench``; empty where it was not run."""
    if not path.is_file():
        return []
    table = read_table(path)
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _number(value: str | None) -> float:
    try:
        return float(value or 0)
    except ValueError:
        return 0.0
