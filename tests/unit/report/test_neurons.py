"""Every virtual neuron has a picture, and circuits are mean relevances."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from purelens.report.data import read_data
from purelens.report.neurons import Neuron, shown
from purelens.storage.reading import strings
from support.pages import MadeUpLayer


def neuron(label: list[int]) -> Neuron:
    n = len(label)
    none = np.zeros((n, 0))
    points, labels = np.zeros((n, 2)), np.array(label)[None, None]
    return Neuron(0, np.arange(n), np.zeros(n), none, none, points, labels, {}, {})


@pytest.mark.parametrize(
    ("label", "n", "expected"),
    [
        ([0, 0, 0, 0, 1, 1], 4, [0, 1, 2, 4]),  # the best two, then the best that is left of each
        ([0, 0, 0, 0, 0, 1], 4, [0, 1, 2, 5]),
        ([0, 0], 6, [0, 1]),
        ([0, 0, 0, 0], 3, [0, 1, 2]),
        ([-1, -1, -1], 2, [0, 1]),
        ([], 4, []),
    ],
)
def test_every_virtual_neuron_is_shown(label: list[int], n: int, expected: list[int]) -> None:
    assert shown(neuron(label), np.array(label, dtype=int), n).tolist() == expected


def test_no_virtual_neuron_of_any_clustering_is_without_a_picture() -> None:
    labels = np.stack([[0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 2, 0], [-1, 0, 0, 0, 0, 0]])[None]
    one = dataclasses.replace(neuron([0] * 6), label=labels)
    assert shown(one, labels[0, 0], 2).tolist() == [0, 1, 4, 5]


def test_circuits_on_a_page_are_means_of_relevances(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    with h5py.File(made.path("virtual_neurons")) as clusters, h5py.File(made.path("relevances")) as file:
        methods = strings(clusters["method"])
        for number in (0, 4):
            data = read_data(folder / f"neurons/{number}.js")
            for name in ("pure:layer1", "activations", "embedder:clip"):
                shown_now = data["clusterings"][name]["2"]
                label = clusters["label"][methods.index(name), 0, number]
                assert shown_now["label"] == label.tolist()
                for virtual_neuron, circuit in zip(shown_now["virtual_neurons"], shown_now["circuits"], strict=True):
                    mean = file["relevance/layer1"][number][label == virtual_neuron].mean(axis=0)
                    order = np.argsort(-np.abs(mean))[:8]
                    assert [lower for lower, _ in circuit] == order.tolist()
                    np.testing.assert_allclose([value for _, value in circuit], mean[order], rtol=1e-3)
