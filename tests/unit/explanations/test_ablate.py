"""Ablation beside whole passes with shifted maps, and its sanity checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from purelens.circuits.activations import activations
from purelens.data.dataset import open_images
from purelens.explanations.ablate import Ablation, ablate, find_head, losses, scaled_like
from purelens.explanations.explain import explain
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from purelens.numerics.bootstrap import Intervals
from purelens.storage.artifacts import create
from support.sums import spoiled


def test_replacing_a_neuron_is_a_whole_pass_with_its_maps_shifted(
    small: dict[str, Any], run_stage: Callable[..., str]
) -> None:
    references = run_stage(activations, layer=LayerView("layer3"), n_references=5)
    network = load_network(*small["model"])
    rng = np.random.default_rng(0)
    with open_images(small["images_h5"]) as images, h5py.File(references) as file:
        chosen, mean = np.arange(0, 40, 3), file["mean"][...].astype(float)
        for layer, has_head in (("layer3", True), ("layer2", False)):
            ablation = Ablation(network, images, LayerView(layer), 5)
            assert (ablation.head_weight is not None) == has_head
            logits, values = ablation.logits(chosen), rng.random(len(chosen))
            ablated = ablation.replaced(chosen, logits, 3, mean[chosen, 3], values)

            def replace(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
                output = output.clone()
                output[:, 3] += torch.from_numpy(values - mean[chosen, 3])[:, None, None]  # noqa: B023
                return output

            handle = network.module.get_submodule(layer).register_forward_hook(replace)
            with torch.no_grad():
                expected = network.module(network.prepare(images.take(chosen))).numpy()
            handle.remove()
            np.testing.assert_allclose(ablated, expected, atol=1e-5 * np.abs(expected).max())
            assert np.abs(expected - logits).max() > 1e-3
            same = ablation.replaced(chosen, logits, 3, mean[chosen, 3], mean[chosen, 3])
            np.testing.assert_allclose(same, logits, atol=1e-6 * np.abs(logits).max())  # a perfect simulation


def test_a_perfect_simulation_changes_no_loss(assigned: dict[str, Any], tmp_path: Path) -> None:
    """An explanation by a concept that is the neuron itself scores 1, its mean 0."""
    with h5py.File(assigned["activations_h5"]) as file:
        alive = int(file["mean"][...].std(axis=0).argmax())
        truth = file["mean"][...][:, [alive]]
    with create(tmp_path / "own.h5", "concepts") as out:
        out.coordinate("image", len(truth))
        out.coordinate("concept", 2)
        out.variable("concept_label", data=["itself", "nothing"])
        out.variable("value", data=np.concatenate([truth, np.full_like(truth, 0.5)], axis=1))
        out.variable("kept", data=np.ones(2, dtype=np.uint8))
        out.variable("split", data=np.repeat([0, 1, 2], [20, 10, 10]).astype(np.uint8))
        for name, value in (("kind", "labels"), ("scale", 1.0), ("bias", 0.0)):
            out.attribute(name, value)
    for name in ("itself", "nothing"):
        (tmp_path / f"{name}.csv").write_text(f"neuron,concept\n{alive},{name}\n")
    explain(
        assigned["activations_h5"], [], [], [], str(tmp_path / "explanations.h5"), [], "all", "layer3",
        imported={name: str(tmp_path / f"{name}.csv") for name in ("itself", "nothing")},
    )  # fmt: skip
    ablate(
        assigned["images_h5"], assigned["model"], assigned["activations_h5"], str(tmp_path / "explanations.h5"),
        str(tmp_path / "own.h5"), [], str(tmp_path / "ablation.csv"), str(tmp_path / "summary.csv"),
        LayerView("layer3"), 4, Intervals(),
    )  # fmt: skip
    scores = pd.read_csv(tmp_path / "ablation.csv").set_index("method")["score"]
    assert scores["imported:itself"] == pytest.approx(1, abs=1e-5)
    assert scores["imported:nothing"] == pytest.approx(0, abs=1e-5)


def test_losses_and_scales() -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits) / 1.1, torch.from_numpy(label), reduction="none"
    )
    np.testing.assert_allclose(losses(logits, label, 1.1), expected, atol=1e-12)
    x = rng.random(30)
    assert scaled_like(3 * x - 1, x) == pytest.approx((3, -1))
    assert scaled_like(x, np.ones(30)) == pytest.approx((0, x.mean()))


def test_no_head_where_something_comes_between(small: dict[str, Any]) -> None:
    network = load_network(*small["model"])
    with open_images(small["images_h5"]) as images:
        pixels = network.prepare(images.take(np.arange(3)))
    assert find_head(network, LayerView("layer3.0"), pixels) is None
    weight = find_head(network, LayerView("layer3"), pixels)
    assert weight is not None
    module: Any = network.module
    np.testing.assert_allclose(weight, module.linear.weight.numpy())


@pytest.mark.parametrize("wrong", ["missing", "extra"])
def test_ablation_sees_wrong_explanations(wrong: str) -> None:
    """Ablation depends on the classes too: most scores fall, and their mean falls by much."""
    rng = np.random.default_rng(0)
    truth = (rng.random((2000, 40)) < 0.05).astype(float)
    neuron = truth * rng.uniform(0.5, 1.5, truth.shape) + 0.05 * rng.random(truth.shape)
    head, label = rng.normal(size=(10, 40)), rng.integers(10, size=2000)
    logits = neuron @ head.T
    label = np.where(rng.random(2000) < 0.7, logits.argmax(axis=1), label)
    before = losses(logits, label, 1.0)

    def score(column: int, guess: np.ndarray) -> float:
        def change(values: np.ndarray) -> float:
            shifted = logits + np.outer(values - neuron[:, column], head[:, column])
            return float(np.abs(losses(shifted, label, 1.0) - before).sum())

        slope, constant = scaled_like(neuron[:, column], guess)
        return 1 - change(slope * guess + constant) / change(np.full(2000, neuron[:, column].mean()))

    spoilt = spoiled(truth, wrong, rng)
    fallen = np.array([score(i, truth[:, i]) - score(i, spoilt[:, i]) for i in range(40)])
    assert (fallen > 1e-3).mean() > 0.9
    assert fallen.mean() > 0.1
