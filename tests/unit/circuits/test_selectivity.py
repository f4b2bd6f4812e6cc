"""Falls of neurons while lower neurons are replaced, beside a direct computation; and a network in which the truth is known."""

from typing import Any

import h5py
import numpy as np
import pytest
import torch

from purelens.circuits.replacement import Replacement
from purelens.circuits.selectivity import (
    SHARES,
    Measured,
    Neuron,
    discriminative,
    measure,
    others_of_equal_relevance,
    selectivity,
)
from purelens.circuits.summaries import area
from purelens.data.dataset import open_images
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.numerics.bootstrap import Intervals
from purelens.storage.tables import read_table
from support.layers import DEAD, images_of


def test_replaced_neurons_have_their_means(small: dict[str, Any]) -> None:
    network = load_network(*small["model"])
    images = images_of(small)
    lower = network.module.get_submodule("layer3.0")
    with torch.inference_mode():
        seen: list[torch.Tensor] = []
        handle = lower.register_forward_hook(lambda _, __, output: seen.append(output))
        network.module(images)
        handle.remove()
        mean = seen[0].mean(dim=(0, 2, 3))

        def replace(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[:, [2, 9]] = mean[[2, 9], None, None]
            return output

        handle = lower.register_forward_hook(replace)
        expected = []
        top = network.module.get_submodule("layer3").register_forward_hook(lambda _, __, o: expected.append(o))
        network.module(images[3:6])
        handle.remove()
        top.remove()
    with open_images(small["images_h5"]) as file, Segment(network.module, "layer3") as segment:
        view, below = LayerView("layer3", "first"), LayerView("layer3.0", "first")
        replacement = Replacement(network, file, segment, view, below)
        values = replacement.largest(np.arange(3, 6), 7, [np.zeros(0, int), np.array([2, 9])])
        assert replacement.copied_behind == "layer3.0"
    np.testing.assert_allclose(values[1], expected[0][:, 7].amax(dim=(1, 2)), rtol=1e-5)
    assert not np.allclose(values[0], values[1])


def test_a_batch_is_not_copied_where_a_shortcut_leads_around(small: dict[str, Any]) -> None:
    network = load_network(*small["model"])
    sets = [np.zeros(0, int), np.array([2, 9]), np.arange(20), np.array([5])]
    with open_images(small["images_h5"]) as file, Segment(network.module, "layer3") as segment:
        view, below = LayerView("layer3", "first"), LayerView("layer3.1.bn1", "first")
        replacement = Replacement(network, file, segment, view, below)
        assert replacement.copied_behind == "layer3.0"
        values = replacement.largest(np.arange(10), 7, sets)
        replacement.copied_behind = None
        np.testing.assert_allclose(replacement.largest(np.arange(10), 7, sets), values, rtol=1e-4)


class TwoWays:
    """A neuron that lower neuron 0 drives on its even references, and lower neuron 1 on the odd ones."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth

    def largest(self, ids: np.ndarray, neuron: int, replaced: list[np.ndarray]) -> np.ndarray:
        truth = self.truth[ids]
        return np.stack([np.where(np.isin(truth, lower), 0.25, 1.0) for lower in replaced])


def neuron_of_two_ways(seed: int = 0) -> tuple[Neuron, TwoWays]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 40)
    relevance = rng.random((40, 100)) * 0.1
    relevance[np.arange(40), truth] += 1
    labels = {"joint": truth, "random": rng.permutation(truth), "none": np.full(40, -1)}
    return Neuron(3, np.arange(40), relevance, labels), TwoWays(truth)


def test_what_drives_one_part_alone_is_selective() -> None:
    neuron, network = neuron_of_two_ways()
    rows = {(row["method"], row["share"]): row for row in measure(neuron, network, 2, 0)}  # type: ignore[arg-type]
    for share in SHARES[:2]:
        right = rows["joint", share]
        assert right["own"] == pytest.approx(0.75)
        assert right["other"] == 0
        assert right["selectivity"] == pytest.approx(0.75)
        assert right["control_selectivity"] == 0
        assert abs(float(str(rows["random", share]["selectivity"]))) < 0.35
    assert not any(method == "none" for method, _ in rows)


def test_circuits_are_made_from_the_other_half() -> None:
    neuron, _ = neuron_of_two_ways()
    assert neuron.held_out.tolist()[:4] == [False, True, False, True]
    own = neuron.labels["joint"] == 1
    found = discriminative(neuron.relevance, own, np.ones(40, bool))
    assert found[0.01].tolist() == [1]
    assert [len(lower) for lower in found.values()] == [1, 2, 5, 10, 20]
    assert discriminative(neuron.relevance, np.zeros(40, bool), np.ones(40, bool)) == {}


def test_controls_have_about_the_same_relevance() -> None:
    rng = np.random.default_rng(0)
    relevance = rng.permutation(100) / 100
    chosen = np.array([4, 50, 51])
    drawn = others_of_equal_relevance(relevance, chosen, rng)
    assert len(set(drawn.tolist()) - set(chosen.tolist())) == 3
    assert np.abs(relevance[drawn] - relevance[chosen]).max() < 0.08
    assert len(others_of_equal_relevance(np.ones(4), np.array([0, 1, 2]), rng)) == 1


def test_the_area_is_that_under_the_curve() -> None:
    assert area(np.array([0.1, 0.2]), np.array([1.0, 1.0])) == pytest.approx(0.75)


def test_tables_of_the_small_study(wounded: dict[str, Any], study: dict[str, Any], tmp_path: Any) -> None:
    out = f"{tmp_path}/s.csv", f"{tmp_path}/ss.csv"
    selectivity(
        **wounded, relevances_h5=study["relevances"], virtual_neurons_h5=study["virtual_neurons"],
        polysemanticity_h5=[], selectivity_csv=out[0], summary_csv=out[1], layer=LayerView("layer3"),
        measured=Measured("layer3.0", n_clusters=2, neurons=4), intervals=Intervals(bootstrap=100),
    )  # fmt: skip
    table, summary = read_table(out[0]), read_table(out[1])
    assert table.neuron.nunique() == 4
    assert DEAD not in set(table.neuron)
    assert set(table.method) == {"pure:layer3.0", "joint", "activations", "random"}
    np.testing.assert_allclose(table.selectivity, table.own - table.other, atol=1e-8)
    one = table[(table.method == "joint") & (table.neuron == table.neuron.iloc[0])]
    row = summary[(summary.method == "joint") & (summary.quantity == "selectivity")].iloc[0]
    areas = [
        area(c.share.to_numpy(), c.selectivity.to_numpy()) for _, c in table[table.method == "joint"].groupby("neuron")
    ]
    assert len(one) == len(SHARES)
    assert row["mean"] == pytest.approx(np.mean(areas), abs=1e-8)
    assert "selectivity over activations" in set(summary.quantity)
    with h5py.File(study["virtual_neurons"]) as file:
        assert set(table.neuron) <= set(file["neuron"][...].tolist())
