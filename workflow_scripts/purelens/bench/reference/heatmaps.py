"""Relevance of the pixels for single units of single images, by zennit alone."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from purelens.bench.reference.circuits import outputs


def heatmaps(
    module: torch.nn.Module, layer: str, units: Iterable[tuple[int, int, torch.Tensor]], canonizers: list[Any]
) -> Iterator[torch.Tensor]:
    """(H, W) relevance, summed over color, of the activation of each (neuron, position, image (1, 3, H, W))."""
    from zennit.composites import EpsilonPlusFlat

    with torch.enable_grad(), EpsilonPlusFlat(canonizers).context(module) as modified:
        for neuron, position, image in units:
            pixels = image.clone().requires_grad_()
            output = outputs(modified, [layer], pixels)[layer]
            seed = torch.zeros_like(output)
            seed.view(*output.shape[:2], -1)[0, neuron, position] = output.flatten(2)[0, neuron, position].detach()
            (relevance,) = torch.autograd.grad(output, pixels, seed)
            yield relevance[0].sum(dim=0)
