"""Distances within and between virtual neurons beside scipy."""

from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import pearsonr

from purelens.circuits.interpretability import cluster_distances
from purelens.circuits.summaries import compare
from purelens.numerics.bootstrap import Intervals
from purelens.storage.tables import read_table
from support.layers import DEAD


def blobs(n_sets: int, n: int, k: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=(n_sets, n))
    centers = rng.normal(size=(n_sets, k, 12)) * 4
    return np.take_along_axis(centers, truth[..., None], axis=1) + rng.normal(size=(n_sets, n, 12)) * spread, truth


def test_intra_and_inter_are_means_over_pairs() -> None:
    vectors, truth = blobs(3, 12, 3, 1.0, seed=6)
    labels = truth.copy()
    labels[0, :2] = -1
    distances = np.stack([cdist(v, v) for v in vectors])
    intra, inter = cluster_distances(distances, labels)
    for row in range(3):
        pairs = [(i, j) for i in range(12) for j in range(i) if labels[row, i] >= 0 and labels[row, j] >= 0]
        same = [distances[row, i, j] for i, j in pairs if labels[row, i] == labels[row, j]]
        different = [distances[row, i, j] for i, j in pairs if labels[row, i] != labels[row, j]]
        assert intra[row] == pytest.approx(np.mean(same))
        assert inter[row] == pytest.approx(np.mean(different))


def test_no_pair_no_distance() -> None:
    distances = np.array([[[0, 1.0], [1.0, 0]]])
    intra, inter = cluster_distances(distances, np.array([[0, 1]]))
    assert np.isnan(intra[0])
    assert inter[0] == 1
    intra, inter = cluster_distances(distances, np.array([[0, 0]]))
    assert intra[0] == 1
    assert np.isnan(inter[0])


def test_tables_hold_the_distances_of_scipy(study: dict[str, Any]) -> None:
    from scipy.stats import sem

    table = read_table(study["interpretability"])
    with h5py.File(study["virtual_neurons"]) as clusters, h5py.File(study["embeddings"]) as file:
        valid = clusters["reference_id"][1] >= 0
        distances = pdist(file["embedding"][1][valid])
        label = clusters["label"][1, 0, 1][valid]
        same = np.equal.outer(label, label)[np.triu_indices(valid.sum(), 1)]
        row = table[(table.neuron == 1) & (table.method == "pure:layer3.0") & (table.n_clusters == 2)].iloc[0]
        assert row.intra == pytest.approx(distances[same].mean(), rel=1e-6)
        assert row.inter == pytest.approx(distances[~same].mean(), rel=1e-6)
        whole = table[(table.neuron == 1) & (table.method == "none")].iloc[0]
        assert whole.intra == pytest.approx(distances.mean(), rel=1e-6)
        assert np.isnan(whole.inter)
        with h5py.File(study["relevances"]) as relevance:
            circuit = pdist(relevance["relevance/layer2"][1][valid])
        correlation = read_table(study["alignment"])
        row = correlation[(correlation.neuron == 1) & (correlation.method == "pure:layer2")].iloc[0]
        assert row.correlation == pytest.approx(pearsonr(circuit, distances)[0], abs=1e-6)
        assert squareform(distances).shape == (12, 12)
    gaps = table[(table.method == "activations") & (table.n_clusters == 3)].gap.dropna()
    summary = read_table(study["summary"])
    row = summary[(summary.method == "activations") & (summary.n_clusters == 3) & (summary.quantity == "gap")].iloc[0]
    assert row["mean"] == pytest.approx(gaps.mean(), rel=1e-6)
    assert row.standard_error == pytest.approx(sem(gaps), rel=1e-6)
    assert row.low < row["mean"] < row.high
    assert row.n == len(gaps)


def test_a_dead_neuron_is_in_the_table_without_numbers(study: dict[str, Any]) -> None:
    dead = read_table(study["interpretability"])[lambda table: table.neuron == DEAD]
    assert len(dead) > 0
    assert (dead.n_references == 0).all()
    assert dead[["intra", "inter", "gap"]].isna().all(axis=None)
    assert np.isnan(read_table(study["alignment"])[lambda table: table.neuron == DEAD].correlation).all()


def test_methods_are_compared_neuron_by_neuron() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"neuron": neuron, "method": method, "n_clusters": 2, "embedder": "clip", "gap": gap}
        for neuron, base in enumerate(100 * rng.random(20))
        for method, gap in {
            "activations": base,
            "random": base - 1,
            "pure:l": base + 0.5 + 0.01 * rng.random(),
            "none": 0,
        }.items()
    ]
    rows[2]["gap"] = np.nan
    differences = compare(pd.DataFrame(rows), "gap", Intervals()).set_index("quantity")
    of_baseline = differences[differences["method"] == "activations"]
    assert of_baseline.index.tolist() == ["gap over random"]
    assert of_baseline["mean"].tolist() == pytest.approx([1.0])
    differences = differences[differences["method"] == "pure:l"]
    assert differences.loc["gap over activations", "n"] == 19
    assert 0.5 < differences.loc["gap over activations", "low"] < differences.loc["gap over activations", "high"] < 0.51
    assert 1.5 < differences.loc["gap over random", "mean"] < 1.51
