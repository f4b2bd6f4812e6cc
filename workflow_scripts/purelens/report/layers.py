"""What the explorer shows of a layer: a line for each neuron, what was found, and what it was found from."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import pandas as pd

from purelens.report.data import rounded
from purelens.report.neurons import LayerFiles, Neuron
from purelens.storage.artifacts import Rows, strings
from purelens.storage.provenance import text

MOST_REJECTED = 200
LIFT = 0.1
"""How much more frequent a concept must be among the references than among all images."""


def layer_table(files: LayerFiles, gaps: np.ndarray, correlations: pd.DataFrame, embedder: str) -> dict[str, Any]:
    """Measures of every neuron, for the clustering that is shown first: lists in the order of the neurons.

    Parameters
    ----------
    files
        The artifacts of the layer.
    gaps
        Of all clusterings (see `all_gaps`).
    correlations
        Table of the rule ``alignment``.
    embedder
        The embedder that judges.
    """
    numbers = files.clusters["neuron"][...]
    method = files.main_method
    gap = gaps[files.methods.index(method)]
    others = correlations[(correlations["method"] == method) & (correlations["embedder"] == embedder)]
    agreement = others.set_index("neuron")["correlation"].reindex(numbers)
    silhouette = files.clusters["silhouette"][files.methods.index(method)]
    known = np.isfinite(silhouette).any(axis=0)
    best = np.argmax(np.nan_to_num(silhouette, nan=-2), axis=0)
    return {
        "neurons": numbers.tolist(),
        "separation": {str(k): rounded(gap[place]) for place, k in enumerate(files.n_clusters)},
        "silhouette": {str(k): rounded(silhouette[place]) for place, k in enumerate(files.n_clusters)},
        "virtual_neurons": [files.n_clusters[b] if there else 0 for b, there in zip(best, known, strict=True)],
        "agreement": rounded(agreement.to_numpy(float)),
    }


def all_gaps(files: LayerFiles, distances: pd.DataFrame, embedder: str) -> np.ndarray:
    """(methods, numbers of clusters, C) gap between the distances of every clustering, seen by an embedder; NaN: none."""
    mine = distances[distances["embedder"] == embedder].set_index(["method", "n_clusters", "neuron"])["gap"]
    index = pd.MultiIndex.from_product([files.methods, files.n_clusters, files.clusters["neuron"][...]])
    shape = (len(files.methods), len(files.n_clusters), -1)
    return mine.reindex(index).to_numpy(float).reshape(shape)


def neuron_line(neuron: Neuron, data: Mapping[str, Any], concepts: np.ndarray | None) -> dict[str, Any]:
    """What the grid shows of a neuron: references, classes and concepts among them.

    Parameters
    ----------
    neuron, data
        The neuron, and what `neuron_data` made of it.
    concepts
        (N, M) which concepts are in which image, if it is known.
    """
    classes = Counter(number for number in data["classes"] if number >= 0)
    found: list[int] = []
    if concepts is not None and len(neuron.ids):
        lift = concepts[neuron.ids].mean(axis=0) - concepts.mean(axis=0)
        found = [int(i) for i in np.argsort(-lift, kind="stable")[:3] if lift[i] > LIFT]
    return {"n": len(neuron.ids), "classes": [[number, n] for number, n in classes.most_common()], "concepts": found}


def concept_table(files: LayerFiles) -> np.ndarray | None:
    """(N, M) which concepts are in which image; None where that is not known."""
    file = files.images.file
    return file["concept"][...].astype(bool) if "concept" in file else None


def layer_facts(
    files: LayerFiles,
    card: Mapping[str, Any],
    summaries: Mapping[str, pd.DataFrame],
    embeddings: Sequence[h5py.File],
) -> dict[str, Any]:
    """What is said of a layer as a whole: sizes, names, comparisons of the methods, warnings, provenance."""
    file = files.images.file
    rejected = list(zip(strings(file["rejected_path"]), strings(file["rejected_reason"]), strict=True))
    return {
        "methods": files.methods,
        "method": files.main_method,
        "n_clusters": files.n_clusters,
        "lower_layers": list(files.relevances["relevance"]),
        "n_references": int(files.clusters["reference_id"].shape[1]),
        "n_images": len(files.images),
        "class_names": strings(file["class_name"]),
        "concept_names": strings(file["concept_label"]) if "concept_label" in file else [],
        "rejected": rejected[:MOST_REJECTED],
        "n_rejected": len(rejected),
        "top1": card.get("top1"),
        "top1_images": card.get("top1_images"),
        "architecture": card.get("architecture"),
        "warnings": _warnings(files, len(rejected)),
        "conserved": _conserved(files),
        "summaries": {name: table.to_dict("records") for name, table in summaries.items()},
        "provenance": [_provenance(part) for part in (*_artifacts(files), *embeddings)],
    }


def _warnings(files: LayerFiles, n_rejected: int) -> list[str]:
    n = (files.clusters["reference_id"][...] >= 0).sum(axis=1)
    most = files.clusters["reference_id"].shape[1]
    found = {
        "images left out": n_rejected,
        "dead neurons, which no image activates": (n == 0).sum(),
        f"neurons with fewer than {most} references": ((n > 0) & (n < most)).sum(),
    }
    return [f"{count} {what}" for what, count in found.items() if count]


def _conserved(files: LayerFiles) -> float | None:
    """Median over references of the relevance at the input, as a share of that at the neuron; None where there is none."""
    share = Rows(files.patches, "conserved")[:]
    return float(np.nanmedian(share)) if np.isfinite(share).any() else None


def _artifacts(files: LayerFiles) -> list[h5py.File]:
    return [files.images.file, files.activations, files.relevances, files.patches, files.clusters, files.plane]


def _provenance(file: h5py.File) -> dict[str, Any]:
    return {
        "artifact": text(file, "schema"),
        "identity": text(file, "identity"),
        "code": text(file, "code"),
        "device": text(file, "device"),
        "params": json.loads(text(file, "params")),
        "inputs": json.loads(text(file, "inputs")),
        "versions": json.loads(text(file, "versions")),
    }
