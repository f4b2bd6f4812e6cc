"""Find the neurons of lower layers that an identity shortcut joins to a neuron: residual networks hand each channel on.

Such a channel is the neuron itself, some blocks earlier. In a circuit it would be the largest entry and say nothing.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.autograd.graph import Node

from purelens.errors import UserError
from purelens.networks.graph import (
    OF_EACH_NEURON,
    all_below,
    is_activation_function,
    is_one_of,
    keeps_neurons,
    node_of,
    scales,
)
from purelens.networks.subnetwork import LayerView, Segment

NOT_JOINED = -1

Gradients = tuple[torch.Tensor | None, ...]


def joined_neurons(segment: Segment, view: LayerView, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Find the neuron of the layer that an identity shortcut joins each lower neuron to.

    Parameters
    ----------
    segment, view
        The part of the network up to the layer, and the layer.
    images
        (1, 3, H, W), normalized; its values do not matter.

    Returns
    -------
    dict
        (C_lower,) int64 for each lower layer: number of the neuron, ``NOT_JOINED`` for none.

    Raises
    ------
    UserError
        If a lower neuron is joined to several neurons.

    Notes
    -----
    Gradients that flow through sums, moves, activation functions and scales alone arrive at the joined neurons and nowhere
    else. Which neuron they come from is read off bit by bit: one backward pass for each bit of the neurons' numbers.
    """
    with torch.enable_grad():
        output, lower = segment.forward(images)
    maps = view.maps(output.detach())
    numbers = torch.arange(maps.shape[1], device=maps.device)
    seeds = [torch.ones_like(numbers), *(numbers >> bit & 1 for bit in range(maps.shape[1].bit_length()))]
    handles = [node.register_hook(_flow(node)) for node in all_below(node_of(output))]
    try:
        arrived = [_arriving(output, lower, view, seed[:, None].expand_as(maps[0])) for seed in seeds]
    finally:
        for handle in handles:
            handle.remove()
    return {name: _decoded(name, view.name, [values[name] for values in arrived]) for name in lower}


def _arriving(
    output: torch.Tensor, lower: Mapping[str, torch.Tensor], view: LayerView, seed: torch.Tensor
) -> dict[str, np.ndarray]:
    gradients = torch.autograd.grad(
        output,
        list(lower.values()),
        grad_outputs=view.unmap(output, seed[None].to(output.dtype)),
        retain_graph=True,
        allow_unused=True,
    )
    return {
        name: np.zeros(view.of(name).maps(tensor).shape[1])
        if gradient is None
        else view.of(name).maps(gradient).abs().sum(dim=(0, 2)).cpu().numpy().astype(float)
        for (name, tensor), gradient in zip(lower.items(), gradients, strict=True)
    }


def _flow(node: Node) -> Callable[[Gradients, Gradients], Gradients | None]:
    """Make a hook that lets gradients through an operation as they are, or stops them."""

    def hook(inputs: Gradients, outputs: Gradients) -> Gradients | None:
        if is_activation_function(node) or is_one_of(node, OF_EACH_NEURON) or scales(node):
            gradient = outputs[0]
            return tuple(
                gradient
                if value is not None and gradient is not None and value.shape == gradient.shape
                else _stopped(value)
                for value in inputs
            )
        return None if keeps_neurons(node) else tuple(_stopped(value) for value in inputs)

    return hook


def _stopped(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradient is None else torch.zeros_like(gradient)


def _decoded(lower_layer: str, layer: str, arrived: list[np.ndarray]) -> np.ndarray:
    total, *bits = arrived
    there = total > 0
    shares = np.stack(bits) / np.where(there, total, 1)
    if (np.abs(shares - shares.round()) > 1e-3)[:, there].any():
        raise UserError(
            f"relevances.skip_channels: shortcuts join a neuron of {lower_layer!r} to several neurons of {layer!r}; "
            "set relevances.skip_channels: keep"
        )
    numbers = (shares.round().astype(np.int64) << np.arange(len(bits))[:, None]).sum(axis=0)
    return np.where(there, numbers, NOT_JOINED)
