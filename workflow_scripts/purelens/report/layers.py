"""Collect what the explorer shows of a layer: a line for each neuron, the comparison of methods, and the provenance."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from purelens.circuits.conservation import LRP, conservation_warnings
from purelens.circuits.polysemanticity import in_words
from purelens.report.data import rounded
from purelens.report.layer_files import LayerFiles
from purelens.report.neurons import Neuron
from purelens.report.scores import Scores
from purelens.storage.reading import Artifact, strings

MOST_REJECTED = 200
LIFT = 0.1
"""How much more frequent a concept must be among the references than among all images."""


def layer_table(files: LayerFiles, scores: Scores, correlations: pd.DataFrame, embedder: str) -> dict[str, Any]:
    """Collect the measures of every neuron for the clustering that is shown first, as lists in the order of the neurons.

    Parameters
    ----------
    files
        The artifacts of the layer.
    scores
        Scores of all clusterings.
    correlations
        Table of the rule ``alignment``.
    embedder
        The embedding model that judges.

    Returns
    -------
    dict
        Lists by the name of the measure, in the order of the neurons.
    """
    numbers = files.clusters["neuron"][...]
    method = files.main_method
    place = files.methods.index(method)
    judged = correlations[(correlations["method"] == method) & (correlations["embedder"] == embedder)]
    alignment = judged.set_index("neuron")["correlation"].reindex(numbers)
    silhouette = files.clusters["silhouette"][place]
    known = np.isfinite(silhouette).any(axis=0)
    best = np.argmax(np.nan_to_num(silhouette, nan=-2), axis=0)
    return {
        "neurons": numbers.tolist(),
        **{name: _by_number(files, values[place]) for name, values in scores.items()},
        "silhouette": _by_number(files, silhouette),
        "virtual_neurons": [files.n_clusters[b] if is_known else 0 for b, is_known in zip(best, known, strict=True)],
        "alignment": rounded(alignment.to_numpy(float)),
        **_decisions(files),
    }


def _by_number(files: LayerFiles, values: np.ndarray) -> dict[str, Any]:
    """Name the rows of values (numbers of clusters, C) by their number."""
    return {str(k): rounded(row) for k, row in zip(files.n_clusters, values, strict=True)}


def _decisions(files: LayerFiles) -> dict[str, Any]:
    """Collect which neurons are polysemantic, and their number of virtual neurons; nothing where none was tested."""
    if files.decisions is None:
        return {}
    file = files.decisions
    p_value = file["p_value"][...]
    decided = [bool(one) if np.isfinite(p) else None for one, p in zip(file["polysemantic"][...], p_value, strict=True)]
    return {
        "p_value": [None if not np.isfinite(p) else float(f"{p:.2g}") for p in p_value],
        "separation": rounded(file["separation"][...]),
        "polysemantic": decided,
        "parts": file["n_virtual_neurons"][...].tolist(),
    }


def decision_sentence(files: LayerFiles) -> str:
    """Say how many neurons are polysemantic; empty where none was tested."""
    if files.decisions is None:
        return ""
    file = files.decisions
    table = pd.DataFrame({"tested": np.isfinite(file["p_value"][...]), "polysemantic": file["polysemantic"][...]})
    return in_words(table, float(file.attribute("false_discovery_rate")))


def neuron_line(neuron: Neuron, data: Mapping[str, Any], concepts: np.ndarray | None) -> dict[str, Any]:
    """Collect what the grid shows of a neuron: the classes and concepts of its references.

    Parameters
    ----------
    neuron, data
        The neuron, and what `purelens.report.neurons.neuron_data` made of it.
    concepts
        (N, M) bool, which concepts are in which image; None: unknown.

    Returns
    -------
    dict
        Names and counts, ready for JSON.
    """
    classes = Counter(number for number in data["classes"] if number >= 0)
    frequent: list[int] = []
    if concepts is not None and len(neuron.ids):
        lift = concepts[neuron.ids].mean(axis=0) - concepts.mean(axis=0)
        frequent = [int(i) for i in np.argsort(-lift, kind="stable")[:3] if lift[i] > LIFT]
    return {"n": len(neuron.ids), "classes": [[number, n] for number, n in classes.most_common()], "concepts": frequent}


def concept_table(files: LayerFiles) -> np.ndarray | None:
    """Read which concepts are in which image: (N, M) bool; None where that is unknown."""
    file = files.images.file
    return file["concept"][...].astype(bool) if "concept" in file else None


def layer_facts(files: LayerFiles, card: Mapping[str, Any], summaries: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Collect what is said of a layer as a whole: sizes, names, comparisons of the methods, warnings, provenance.

    Parameters
    ----------
    files
        The artifacts of the layer.
    card
        Card of the model.
    summaries
        Summaries of the rules ``interpretability`` and ``alignment``, by the name of the rule.

    Returns
    -------
    dict
        Ready for JSON.
    """
    file = files.images.file
    rejected = list(zip(strings(file["rejected_path"]), strings(file["rejected_reason"]), strict=True))
    return {
        "methods": files.methods,
        "method": files.main_method,
        "n_clusters": files.n_clusters,
        "lower_layers": files.relevances.names("relevance"),
        "n_references": int(files.clusters["reference_id"].shape[1]),
        "n_images": len(files.images),
        "class_names": strings(file["class_name"]),
        "concept_names": strings(file["concept_label"]) if "concept_label" in file else [],
        "rejected": rejected[:MOST_REJECTED],
        "n_rejected": len(rejected),
        "top1": card.get("top1"),
        "top1_images": card.get("top1_images"),
        "architecture": Path(str(card.get("architecture"))).name,  # a path of the user's is not shown
        "decision": decision_sentence(files),
        "warnings": _warnings(files, len(rejected)),
        "conserved": _conserved(files),
        "summaries": {name: table.to_dict("records") for name, table in summaries.items()},
        "provenance": [_provenance(artifact) for artifact in _artifacts(files)],
    }


def _warnings(files: LayerFiles, n_rejected: int) -> list[str]:
    n = (files.clusters["reference_id"][...] >= 0).sum(axis=1)
    most = files.clusters["reference_id"].shape[1]
    counts = {
        "rejected images": n_rejected,
        "dead neurons, which no image activates": (n == 0).sum(),
        f"neurons with fewer than {most} references": ((n > 0) & (n < most)).sum(),
    }
    attribution = json.loads(files.patches.attribute("params")).get("attribution", LRP)
    of_relevance = conservation_warnings(files.patches["conserved"][:], attribution)
    return [f"{count} {what}" for what, count in counts.items() if count] + of_relevance


def _conserved(files: LayerFiles) -> float | None:
    """Median over references of the relevance at the input, as a share of that at the neuron; None where there is none."""
    share = files.patches["conserved"][:]
    return float(np.nanmedian(share)) if np.isfinite(share).any() else None


def _artifacts(files: LayerFiles) -> list[Artifact]:
    of_layer = [files.images.file, files.activations, files.relevances, files.patches, files.clusters, files.plane]
    return [*of_layer, *files.embeddings, *([files.decisions] if files.decisions else [])]


def _provenance(file: Artifact) -> dict[str, Any]:
    plain = {name: file.attribute(name) for name in ("fingerprint", "code", "device")}
    return {
        "artifact": file.attribute("schema"),
        **plain,
        **{name: json.loads(file.attribute(name)) for name in ("params", "inputs", "versions")},
    }
