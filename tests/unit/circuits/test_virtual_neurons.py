"""Virtual neurons, their circuits and missing references."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.circuits.activations import activations
from purelens.circuits.interpretability import interpretability
from purelens.circuits.relevances import relevances
from purelens.circuits.splitting import random_labels
from purelens.circuits.tables import Circuits
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.networks.subnetwork import LayerView
from purelens.numerics.bootstrap import Intervals
from purelens.storage.reading import strings
from support.layers import DEAD


def test_circuits_are_stored_as_the_relevances_are(small: dict[str, Any], tmp_path: Path) -> None:
    paths = {name: f"{tmp_path}/{name}.h5" for name in ("activations", "relevances", "virtual_neurons")}
    activations(**small, activations_h5=paths["activations"], layer=LayerView("layer3"), n_references=6, storage="half")
    for normalize, dtype in (("l1", "f2"), ("none", "f4")):
        relevances(
            **small, activations_h5=paths["activations"], relevances_h5=paths["relevances"], layer=LayerView("layer3"),
            circuits=Circuits(["layer2"], normalize), neurons=[0, 1], storage="half",
        )  # fmt: skip
        virtual_neurons(paths["relevances"], paths["activations"], [], paths["virtual_neurons"], [], [2])
        with h5py.File(paths["relevances"]) as file, h5py.File(paths["virtual_neurons"]) as clusters:
            assert file["relevance/layer2"].dtype == clusters["circuit/layer2"].dtype == np.dtype(dtype)


def test_random_split_is_balanced_and_repeatable() -> None:
    valid = np.ones((2, 11), dtype=bool)
    valid[1, 4:] = False
    labels = random_labels(valid, 3, [[0, 1], [0, 2]])
    assert sorted(np.bincount(labels[0])) == [3, 4, 4]
    assert (labels[1, 4:] == -1).all()
    assert (labels == random_labels(valid, 3, [[0, 1], [0, 2]])).all()


def test_missing_references_are_in_no_result(study: dict[str, Any]) -> None:
    with h5py.File(study["relevances"]) as file:
        missing = file["reference_id"][...] < 0
        for lower in ("layer3.0", "layer2"):
            values = file[f"relevance/{lower}"][...]
            assert (values[missing] == 0).all()
            np.testing.assert_allclose(np.abs(values[~missing]).sum(axis=-1), 1, rtol=1e-4)
    with h5py.File(study["patches"]) as file:
        assert (file["box"][...][missing] == -1).all()
        assert (file["heat"][...][missing] == 0).all()
        assert np.isnan(file["conserved"][...][missing]).all()
        assert np.isfinite(file["conserved"][...][~missing]).all()
    with h5py.File(study["virtual_neurons"]) as file:
        labels = file["label"][...]
        assert (labels[:, :, missing] == -1).all()
        assert (labels[:, :, DEAD] == -1).all()
        assert (labels[:, :, 0] >= 0).all()
        assert np.isnan(file["inertia"][:, :, DEAD]).all()


def test_circuits_are_mean_relevances(study: dict[str, Any]) -> None:
    with h5py.File(study["virtual_neurons"]) as clusters, h5py.File(study["relevances"]) as file:
        methods = strings(clusters["method"])
        assert methods == ["pure:layer2", "pure:layer3.0", "joint", "activations", "embedder:net", "random"]
        for number, lower in ((0, "layer2"), (1, "layer3.0")):
            label = clusters["label"][number, 1, 0]
            for virtual in range(3):
                expected = file[f"relevance/{lower}"][0][label == virtual].mean(axis=0)
                np.testing.assert_allclose(clusters[f"circuit/{lower}"][1, 0, virtual], expected, rtol=1e-4, atol=1e-7)
            assert np.isnan(clusters[f"circuit/{lower}"][1, 0, 3]).all()


def test_same_inputs_same_bytes(study: dict[str, Any], tmp_path: Path) -> None:
    again = str(tmp_path / "v.h5")
    inputs = (study["relevances"], study["activations"], [study["embeddings"]])
    virtual_neurons(*inputs, again, ["net"], [2, 3, 4])
    with h5py.File(study["virtual_neurons"]) as one, h5py.File(again) as other:
        for name in ("label", "inertia", "silhouette", "circuit/layer2"):
            assert one[name][...].tobytes() == other[name][...].tobytes()
    table, summary = tmp_path / "i.csv", tmp_path / "s.csv"
    interpretability(
        study["relevances"], again, [study["embeddings"]], str(table), str(summary), ["net"], Intervals(bootstrap=200)
    )
    assert table.read_bytes() == Path(study["interpretability"]).read_bytes()
    assert summary.read_bytes() == Path(study["summary"]).read_bytes()
