"""Decisions about neurons whose references are known to be of one or of several groups."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from purelens.circuits.polysemanticity import in_words, polysemanticity
from purelens.storage.artifacts import create

N_REFERENCES, N_LOWER, N_NEURONS = 60, 30, 16


def made_up(folder: Path, n_groups: list[int]) -> tuple[str, str]:
    """Artifacts of neurons whose references fall into so many groups; 0: dead, -1: too few references."""
    rng = np.random.default_rng(0)
    shape = (len(n_groups), N_REFERENCES)
    ids = np.arange(np.prod(shape)).reshape(shape)
    group = rng.integers(0, np.maximum(n_groups, 1)[:, None], shape)
    center = rng.standard_normal((len(n_groups), 5, N_LOWER))
    values = center[np.arange(len(n_groups))[:, None], group] + 0.5 * rng.standard_normal((*shape, N_LOWER))
    ids[np.array(n_groups) == 0] = -1
    ids[np.array(n_groups) == -1, 12:] = -1
    values[ids < 0] = 0
    paths = str(folder / "relevances.h5"), str(folder / "activations.h5")
    with create(paths[0], "relevances") as out:
        out.references(np.arange(len(n_groups)), ids)
        out.coordinate("lower_layer", 1)
        out.variable("lower_layer_name", data=["low"])
        out.variable("inner", data=[0])
        out.coordinate("lower_neuron.low", N_LOWER)
        out.variable("relevance/low", ("neuron", "reference", "lower_neuron.low"), data=values)
    with create(paths[1], "activations") as out:
        out.coordinate("image", int(np.prod(shape)))
        out.coordinate("neuron", N_NEURONS)
        out.variable("mean", data=rng.random((int(np.prod(shape)), N_NEURONS)))
    return paths


def test_groups_are_found_and_counted(tmp_path: Path) -> None:
    n_groups = [1, 2, 3, 1, 0, -1, 2, 1]
    paths = made_up(tmp_path, n_groups)
    made, table = str(tmp_path / "p.h5"), str(tmp_path / "p.csv")
    polysemanticity(*paths, made, table)
    decisions = pd.read_csv(table)
    assert decisions["tested"].tolist() == [n > 0 for n in n_groups]
    assert decisions["polysemantic"].tolist() == [n > 1 for n in n_groups]
    assert decisions["n_virtual_neurons"].tolist() == [1, 2, 3, 1, 0, 1, 2, 1]
    assert decisions["p_value"].isna().tolist() == [n <= 0 for n in n_groups]
    with h5py.File(made) as file, h5py.File(paths[0]) as relevances:
        label, circuit = file["label"][...], file["circuit/low"][...]
        assert (label[4] == -1).all()
        for neuron, n in enumerate(decisions["n_virtual_neurons"]):
            for virtual in range(n):
                expected = relevances["relevance/low"][neuron][label[neuron] == virtual].mean(axis=0)
                np.testing.assert_allclose(circuit[neuron, virtual], expected, rtol=1e-4, atol=1e-6)
            assert np.isnan(circuit[neuron, n:]).all()
    assert in_words(decisions, 0.05) == (
        "3 of 6 neurons are polysemantic at a false discovery rate of 5 %; 2 with fewer than 20 references are not tested"
    )


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    paths = made_up(tmp_path, [1, 2, 3])
    data = []
    for name in ("one", "other"):
        polysemanticity(*paths, str(tmp_path / f"{name}.h5"), str(tmp_path / f"{name}.csv"))
        with h5py.File(tmp_path / f"{name}.h5") as file:
            data.append(
                [file[variable][...].tobytes() for variable in ("label", "p_value", "separation", "circuit/low")]
            )
    assert data[0] == data[1]
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_nothing_to_test(tmp_path: Path) -> None:
    polysemanticity(*made_up(tmp_path, [0, -1]), str(tmp_path / "p.h5"), str(tmp_path / "p.csv"))
    assert in_words(pd.read_csv(tmp_path / "p.csv"), 0.05).startswith("no neuron was tested")
