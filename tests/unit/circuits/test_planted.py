"""Neurons planted in a small random network, beside their definition; and what methods find in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from purelens.circuits.activations import activations
from purelens.circuits.methods import CHOSEN
from purelens.circuits.planted import Numbers, planted
from purelens.circuits.planted_scores import CEILING, planted_scores
from purelens.circuits.tables import Circuits
from purelens.errors import UserError
from purelens.figures.planted_figure import planted_figure
from purelens.networks.final_function import ACTIVATION_FUNCTIONS
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.numerics.bootstrap import Intervals
from purelens.storage.reading import strings
from support.layers import clipped_network, images_of

LAYER, LOWER = LayerView("layer3"), ["layer3.0", "layer3.1.bn1"]
CIRCUITS = Circuits(LOWER, inner_layers=["layer3.1.bn1"], weighted_activations=True)


@pytest.fixture
def made(small: dict[str, Any], run_stage: Callable[..., str]) -> tuple[str, str]:
    references = run_stage(activations, layer=LAYER, n_references=8)
    numbers = Numbers(pairs=3, triples=2, controls=2)
    return run_stage(planted, activations_h5=references, layer=LAYER, circuits=CIRCUITS, numbers=numbers), references


def test_relevances_are_those_of_the_sum(small: dict[str, Any], made: tuple[str, str]) -> None:
    network, images = load_network(*small["model"]), images_of(small)
    with h5py.File(made[0]) as file, h5py.File(made[1]) as neurons:
        kinds = strings(file["kind"])
        for row in (kinds.index("unequal"), kinds.index("magnitudes"), kinds.index("triple")):
            w = torch.zeros(64)
            for parent, weight in zip(file["parent"][row], file["weight"][row], strict=True):
                if parent >= 0:
                    w[parent] = float(weight) / float(neurons["reference_value"][parent, 0])
            image = images[int(file["reference_id"][row, 1])][None]
            with Segment(network.module, "layer3", LOWER, ACTIVATION_FUNCTIONS) as segment, torch.enable_grad():
                output, lower = segment.forward(image)
                u = torch.einsum("bchw,c->bhw", output, w).clamp(min=0)
                gradients = torch.autograd.grad(0.5 * u.square().sum(), list(lower.values()))
                weighted = (segment.final * u[:, None]).sum(dim=(2, 3))[0] / u.sum()
            for name, gradient in zip(lower, gradients, strict=True):
                expected = (lower[name] * gradient).sum(dim=(2, 3))[0].detach()
                if name == "layer3.0":  # the shortcut hands the parents on
                    expected[w != 0] = 0
                expected = expected / expected.abs().sum()
                np.testing.assert_allclose(file[f"relevance/{name}"][row, 1], expected, atol=1e-5)
            np.testing.assert_allclose(file["weighted_activation"][row, 1], weighted.detach(), atol=1e-5)


def test_references_are_those_of_the_parents(made: tuple[str, str]) -> None:
    with h5py.File(made[0]) as file, h5py.File(made[1]) as neurons:
        for row, kind in enumerate(strings(file["kind"])):
            if file["one_concept"][row] or kind == "control":
                continue
            for place, parent in enumerate(file["parent"][row]):
                own = file["reference_id"][row][file["truth"][row] == place]
                np.testing.assert_array_equal(own, neurons["reference_id"][parent, : len(own)] if parent >= 0 else [])


def test_behind_a_ceiling_what_the_function_is_given_ranks(small: dict[str, Any], tmp_path: Path) -> None:
    paths = clipped_network(small["images_h5"], tmp_path)
    activations(**paths, activations_h5=f"{tmp_path}/a.h5", layer=LayerView("act"), n_references=6)
    planted(
        **paths, activations_h5=f"{tmp_path}/a.h5", planted_h5=f"{tmp_path}/p.h5", layer=LayerView("act"),
        circuits=Circuits(["conv"], skip_channels="keep"), numbers=Numbers(pairs=2, triples=0, controls=0),
    )  # fmt: skip
    with h5py.File(tmp_path / "p.h5") as file, h5py.File(tmp_path / "a.h5") as neurons:
        assert (neurons["max"][...] == 6).sum(axis=0).max() > 6  # more tie than are taken
        for row in np.flatnonzero(~file["one_concept"][...].astype(bool)):
            for place, parent in enumerate(file["parent"][row]):
                own = file["reference_id"][row][file["truth"][row] == place]
                np.testing.assert_array_equal(own, neurons["reference_id"][parent, : len(own)])


def test_scores_of_all_methods(made: tuple[str, str], tmp_path: Path) -> None:
    table, summary = str(tmp_path / "t.csv"), str(tmp_path / "s.csv")
    planted_scores(*made, table, summary, Intervals(bootstrap=100))
    rows = pd.read_csv(table)
    pairs = rows[rows["n_parts"] == 2]
    given = {
        "pure:layer3.0",
        "pure:layer3.1.bn1",
        "activations",
        "joint",
        "joint by k-means",
        "random",
        CEILING,
        CHOSEN,
    }
    assert given <= set(pairs["method"])
    assert (rows[rows["kind"] == "control"]["n_parts"] == 1).all()
    assert rows["ari"].dropna().between(-1, 1).all()
    # eight references are too few to be tested: nothing is split
    assert rows[rows["method"] == CHOSEN][["found_parts", "ari", "p_value"]].isna().all(axis=None)
    means = pd.read_csv(summary)
    assert {"ari"} <= set(means["quantity"])
    assert means[(means["method"] == CHOSEN) & means["quantity"].isin(["right", "split"])].empty
    again = (str(tmp_path / "t2.csv"), str(tmp_path / "s2.csv"))
    planted_scores(*made, *again, Intervals(bootstrap=100))
    assert Path(table).read_bytes() == Path(again[0]).read_bytes()
    assert Path(summary).read_bytes() == Path(again[1]).read_bytes()
    planted_figure(summary, str(tmp_path / "p.png"), "net layer3 on images")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_neurons_that_all_share_references(
    small: dict[str, Any], run_stage: Callable[..., str], tmp_path: Path
) -> None:
    references = run_stage(activations, layer=LAYER, n_references=40)
    with pytest.raises(UserError, match=r"planted: no two of the \d+ neurons of layer 'layer3' with all 40 references"):
        planted(**small, activations_h5=references, planted_h5=str(tmp_path / "p.h5"), layer=LAYER, circuits=CIRCUITS)
    assert not (tmp_path / "p.h5").exists()
