"""The first screen of the explorer: what was found in each layer, and from what."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purelens.circuits.virtual_neurons import RANDOM
from purelens.storage.tables import read_table


def overview(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the first screen says of each layer.

    Parameters
    ----------
    layers
        What the rule ``pages`` wrote: ``facts``, ``table`` and ``lines`` of each.
    """
    ids = route_names([layer["facts"] for layer in layers])
    return [_card(layer, route) for layer, route in zip(layers, ids, strict=True)]


def route_names(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names of layers in links: model and layer, and the dataset where there are several."""
    several = len({fact["dataset"] for fact in facts}) > 1
    return ["/".join([*([fact["dataset"]] if several else []), fact["model"], fact["layer"]]) for fact in facts]


def lenses(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Names of the CLIPs under the lens, in links and in words."""
    several = len({facts["dataset"] for facts in found}) > 1
    return [
        {name: facts[name] for name in ("key", "dataset", "embedder")}
        | {"route": "/".join(["lens", *([facts["dataset"]] if several else []), facts["embedder"]])}
        for facts in found
    ]


def _card(layer: Mapping[str, Any], route: str) -> dict[str, Any]:
    facts, table, lines = layer["facts"], layer["table"], layer["lines"]
    return {
        "route": route,
        "facts": {name: facts[name] for name in facts if name != "provenance"},
        "n_neurons": len(table["neurons"]),
        "n_dead": sum(line["n"] == 0 for line in lines),
        "found": found(facts, table),
        "examples": [_example(facts, table, lines, row) for row in facts["examples"]],
        "separation": table["separation"][str(facts["k"])],
        "provenance": facts["provenance"],
    }


def found(facts: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the sentence that says what was found.

    Returns
    -------
    dict
        ``apart`` of the ``n`` neurons that can be judged have virtual neurons whose references are farther apart than those
        of the same one; ``random_apart`` have where they are split at random. ``gap``, ``random`` and ``activations``: by how
        much they are, as a share of the distance within a virtual neuron, for PURE and for two other ways to split (None
        where they were not tried).
    """
    gaps = np.array([value for value in table["separation"][str(facts["k"])] if value is not None], dtype=float)
    return {
        "n": len(gaps),
        "apart": int((gaps > 0).sum()),
        "random_apart": facts["random_apart"],
        "gap": _relative_gap(facts, facts["method"]),
        "random": _relative_gap(facts, RANDOM),
        "activations": _relative_gap(facts, "activations"),
    }


def _relative_gap(facts: Mapping[str, Any], method: str) -> float | None:
    wanted = {"method": method, "n_clusters": facts["k"], "embedder": facts["embedders"][0]}
    means = {
        row["quantity"]: row["mean"]
        for row in facts["summaries"]["interpretability"]
        if all(row[name] == value for name, value in wanted.items())
    }
    return means["gap"] / means["intra"] if means.get("gap") is not None and means.get("intra") else None


def _example(facts: Mapping[str, Any], table: Mapping[str, Any], lines: Sequence[Any], row: int) -> dict[str, Any]:
    line = lines[row]
    names = facts["class_names"]
    parts = [part | {"name": names[part["class"]] if part["class"] >= 0 else ""} for part in line["parts"]]
    return {"number": table["neurons"][row], "shown": line["shown"], "parts": parts, "n": line["n"]}


def benchmarks(folder: Path) -> list[dict[str, Any]]:
    """Time and memory of the jobs of each rule, as far as they were written down: the longest rule first."""
    rules: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
                rules.setdefault(rule, []).append((_number(row.get("s")), _number(row.get("max_rss"))))
    found = [
        {"rule": rule, "jobs": len(jobs), "seconds": sum(s for s, _ in jobs), "megabytes": max(m for _, m in jobs)}
        for rule, jobs in rules.items()
    ]
    return sorted(found, key=lambda row: -row["seconds"])


def ratios(path: Path) -> list[dict[str, Any]]:
    """The table of ``snakemake bench``, where it was run."""
    if not path.is_file():
        return []
    table = read_table(path)
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _number(value: str | None) -> float:
    try:
        return float(value or 0)
    except ValueError:
        return 0.0
