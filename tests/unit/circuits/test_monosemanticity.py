"""Scores of virtual neurons, neurons and latents in the small study, beside their definitions."""

from itertools import combinations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from helpers import CIFAR_RESNET
from purelens.circuits.dictionaries import Sizes, dictionaries
from purelens.circuits.methods import CHOSEN
from purelens.circuits.monosemanticity import GAINS, SCORES, monosemanticity, score_parts
from purelens.circuits.polysemanticity import polysemanticity
from purelens.errors import UserError
from purelens.explanations.image_embeddings import image_embeddings
from purelens.networks.subnetwork import LayerView
from purelens.numerics.bootstrap import Intervals
from purelens.storage.reading import strings
from purelens.storage.tables import read_table
from support.layers import DEAD


def settings_of(wounded: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": "network", "architecture": CIFAR_RESNET, "options": {"depth": 14, "num_classes": 2},
        "weights": wounded["model"][0], "layer": "layer2", "size": 32,
    }  # fmt: skip


@pytest.fixture(scope="module")
def scored(wounded: dict[str, Any], study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("monosemanticity")
    out = {name: f"{folder}/{name}" for name in ("poly.h5", "poly.csv", "d.h5", "e.h5", "m.csv", "u.csv", "s.csv")}
    polysemanticity(study["relevances"], study["activations"], out["poly.h5"], out["poly.csv"])
    dictionaries(**wounded, dictionaries_h5=out["d.h5"], layer=LayerView("layer3"), n_references=6, sizes=Sizes(10, 3))
    image_embeddings(wounded["images_h5"], out["e.h5"], settings_of(wounded))
    monosemanticity(
        wounded["images_h5"], study["activations"], study["virtual_neurons"], [out["poly.h5"]], [out["d.h5"]],
        [study["embeddings"]], [out["e.h5"]], out["m.csv"], out["u.csv"], out["s.csv"], ["net"],
        Intervals(bootstrap=100),
    )  # fmt: skip
    return out


def mean_similarity(vectors: np.ndarray, weight: np.ndarray) -> float:
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = list(combinations(range(len(weight)), 2))
    products = np.array([weight[a] * weight[b] for a, b in pairs])
    return float(products @ [vectors[a] @ vectors[b] for a, b in pairs] / products.sum())


def test_virtual_neurons_are_scored_by_their_references(study: dict[str, Any], scored: dict[str, Any]) -> None:
    table = read_table(scored["m.csv"])
    row = table[(table.neuron == 1) & (table.method == "pure:layer2") & (table.n_clusters == 2)].iloc[0]
    with (
        h5py.File(study["virtual_neurons"]) as clusters,
        h5py.File(study["embeddings"]) as file,
        h5py.File(study["activations"]) as activations,
    ):
        ids = clusters["reference_id"][1]
        label = clusters["label"][strings(clusters["method"]).index("pure:layer2"), 0, 1]
        of_all = activations["max"][:, 1].astype(np.float64)
        weight = (of_all[ids] - of_all.min()) / (of_all.max() - of_all.min())
        parts = [np.flatnonzero(label == part) for part in (0, 1)]
        vectors = file["embedding"][1].astype(np.float64)
        scores = [mean_similarity(vectors[part], weight[part]) for part in parts]
        indices = [mean_similarity(vectors[part[:5]], np.ones(len(part[:5]))) for part in parts]
    sizes = [len(part) for part in parts]
    assert row.monosemanticity == pytest.approx(np.average(scores, weights=sizes), abs=1e-6)
    assert row["index"] == pytest.approx(np.average(indices, weights=sizes), abs=1e-6)
    for score in SCORES:
        assert row[f"{score}_gain"] == pytest.approx(row[score] - row[f"{score}_null"], abs=1e-8)


def test_units_are_scored_over_all_images(
    wounded: dict[str, Any], study: dict[str, Any], scored: dict[str, Any]
) -> None:
    table = read_table(scored["u.csv"])
    with (
        h5py.File(scored["e.h5"]) as file,
        h5py.File(study["activations"]) as activations,
        h5py.File(scored["d.h5"]) as learned,
    ):
        vectors = file["embedding"][...].astype(np.float64)
        for kind, values in (("neuron", activations["max"][:, 2]), ("sae", learned["max/sae"][:, 4])):
            row = table[(table.kind == kind) & (table.unit == (2 if kind == "neuron" else 4))].iloc[0]
            a = values.astype(np.float64)
            expected = mean_similarity(vectors, (a - a.min()) / (a.max() - a.min()))
            assert row.monosemanticity == pytest.approx(expected, abs=1e-6)
        everything = mean_similarity(vectors, np.ones(len(vectors)))
    assert table.all_images.to_numpy() == pytest.approx(everything, abs=1e-6)
    assert set(table.kind) == {"neuron", "nmf", "sae"}
    dead = table[(table.kind == "neuron") & (table.unit == DEAD)].iloc[0]
    assert np.isnan(dead.monosemanticity)
    assert dead.n_references == 0


def test_no_embedding_model_judges_itself(scored: dict[str, Any]) -> None:
    assert "embedder:net" not in set(read_table(scored["m.csv"]).method)


def test_what_is_chosen_is_scored_and_a_neuron_that_stays_whole_gains_nothing(scored: dict[str, Any]) -> None:
    table, decisions = read_table(scored["m.csv"]), read_table(scored["poly.csv"])
    chosen = table[table.method == CHOSEN].set_index("neuron")
    assert (chosen.n_parts == decisions.set_index("neuron").n_virtual_neurons).all()
    assert chosen[chosen.n_parts < 2][list(GAINS)].isna().all(axis=None)


def test_a_true_split_gains_and_a_random_one_does_not() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 30)[rng.permutation(60)]
    vectors = rng.normal(size=(2, 20))[truth] * 2 + rng.normal(size=(60, 20))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weight = np.sort(rng.random(60))[::-1]
    right = score_parts(vectors @ vectors.T, weight, truth + 4, truth, [0])
    gains = [
        score_parts(vectors @ vectors.T, weight, truth + 4, rng.permutation(truth), [0])["monosemanticity_gain"]
        for _ in range(40)
    ]
    assert right["monosemanticity_gain"] > 0.2
    assert right["purity"] == 1
    assert abs(np.mean(gains)) < 0.01
    nothing = score_parts(np.eye(3), np.ones(3), np.full(3, -1), np.full(3, -1), [0])
    assert nothing["n_parts"] == 0
    assert all(np.isnan(nothing[name]) for name in (*SCORES, *GAINS))


def test_the_summary_has_means_of_all_and_of_polysemantic_neurons(scored: dict[str, Any]) -> None:
    table, summary = read_table(scored["m.csv"]), read_table(scored["s.csv"])
    row = summary[
        (summary.method == "activations") & (summary.n_clusters == 3) & (summary.quantity == "index_gain")
        & (summary.subset == "all")
    ].iloc[0]  # fmt: skip
    values = table[(table.method == "activations") & (table.n_clusters == 3)].index_gain
    assert row["mean"] == pytest.approx(values.mean(), abs=1e-8)
    assert isinstance(summary, pd.DataFrame)
    assert {"all", "units on all images"} <= set(summary.subset)


def test_one_reference_is_no_pair(tmp_path: Path) -> None:
    one = score_parts(np.ones((1, 1)), np.ones(1), np.array([3]), np.array([0]), [0])
    assert np.isnan(one["monosemanticity"])
    assert one["purity"] == 1


def test_without_an_embedding_model_there_is_nothing_to_judge(study: dict[str, Any], tmp_path: Path) -> None:
    inputs, tables = (
        ("images.h5", study["activations"], study["virtual_neurons"]),
        [f"{tmp_path}/{n}.csv" for n in "abc"],
    )
    with pytest.raises(UserError, match="name one in embedders"):
        monosemanticity(*inputs, [], [], [], [], tables[0], tables[1], tables[2], [], Intervals())
