"""One backward pass for each pair, shared by pairs of different images."""

from collections.abc import Callable
from typing import Any

import h5py
import pytest
import torch

from purelens.circuits.activations import activations
from purelens.circuits.pairs import select_pairs
from purelens.circuits.patches import patches
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution

LAYER, LOWER = "layer3", ["layer3.0", "layer2"]


@pytest.mark.parametrize("stage", [relevances, patches])
def test_one_backward_pass_for_each_pair(
    stage: Callable[..., None],
    small: dict[str, Any],
    run_stage: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pairs of different images share a pass; inside a pass of LRP every convolution has one branch."""
    passes: list[int] = []
    inside = []
    grad = torch.autograd.grad

    def counting(outputs, inputs, grad_outputs=None, **options):  # type: ignore[no-untyped-def]
        if isinstance(outputs, torch.Tensor):
            passes.append(int((grad_outputs.flatten(1) != 0).any(dim=1).sum()))
        else:
            inside.append(len(outputs))
        return grad(outputs, inputs, grad_outputs, **options)

    references = run_stage(activations, layer=LayerView(LAYER), n_references=6)
    monkeypatch.setattr(torch.autograd, "grad", counting)
    lower = {"circuits": Circuits(["layer2"], skip_channels="keep")} if stage is relevances else {}
    run_stage(
        stage,
        activations_h5=references,
        layer=LayerView(LAYER),
        neurons=["0-7"],
        execution=Execution(batch_size=5),
        **lower,
    )
    with h5py.File(references) as file:
        pairs = select_pairs(file, ["0-7"], LAYER)
    groups = pairs.by_image()
    deepest = [max(len(of_image) for _, of_image in groups[start : start + 5]) for start in range(0, len(groups), 5)]
    assert len(passes) == sum(deepest)
    assert sum(passes) == (pairs.reference_id >= 0).sum() > len(groups)
    assert set(inside) == (set() if stage is relevances else {1})
    if stage is patches:
        module = load_network(*small["model"]).module
        n_convolutions = sum(isinstance(part, torch.nn.Conv2d) for part in module.modules())  # all are below the layer
        assert len(inside) == n_convolutions * len(passes)
