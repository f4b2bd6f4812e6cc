"""Compute the relevance of pixels for single neurons on single images, by zennit alone."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from purelens.bench.reference.circuits import outputs


def heatmaps(
    module: torch.nn.Module, layer: str, units: Iterable[tuple[int, int, torch.Tensor]], canonizers: list[Any]
) -> Iterator[torch.Tensor]:
    """Yield the relevance (H, W) of pixels, summed over color, for activations of a layer.

    Parameters
    ----------
    module, layer
        The network, and the name of the layer.
    units
        Neuron, position and image (1, 3, H, W) of each activation.
    canonizers
        Zennit's, for this network.

    Yields
    ------
    torch.Tensor
        (H, W) relevance of the pixels, one map for each activation.
    """
    from zennit.composites import EpsilonPlusFlat

    with torch.enable_grad(), EpsilonPlusFlat(canonizers).context(module) as modified:
        for neuron, position, image in units:
            pixels = image.clone().requires_grad_()
            output = outputs(modified, [layer], pixels)[layer]
            seed = torch.zeros_like(output)
            seed.view(*output.shape[:2], -1)[0, neuron, position] = output.flatten(2)[0, neuron, position].detach()
            (relevance,) = torch.autograd.grad(output, pixels, seed)
            yield relevance[0].sum(dim=0)
