"""Explain single units of a layer in the pixels of their images, by LRP or input times gradient."""

from contextlib import nullcontext

import numpy as np
import torch

from purelens.circuits.conservation import GRADIENT, LRP
from purelens.errors import UserError
from purelens.networks.loading import Network
from purelens.networks.lrp import Propagation, RelevanceSums, plan_rules
from purelens.networks.lrp_checks import check_rules
from purelens.networks.subnetwork import LayerView, Segment

MAX_CHANGE = 1e-2
"""Relative change of a layer's output that canonization may cause: far above rounding, far below another network."""


class PixelHeatmaps:
    """Explain single units of a layer in the pixels of their images. Use it in a ``with`` block.

    The rules of LRP stay on the network for the whole block.

    Parameters
    ----------
    network, segment, layer
        The network, its part up to the layer, and the layer.
    attribution
        ``lrp``, or ``gradient`` for input times gradient.
    size
        Side of the images, in pixels.

    Attributes
    ----------
    maps
        (b, C, P) activations of the neurons at their positions, for the batch that was run forward.

    Raises
    ------
    UserError
        If LRP has no rule for a part of the network, or would explain another network.
    """

    def __init__(self, network: Network, segment: Segment, layer: LayerView, attribution: str, size: int) -> None:
        self._segment, (self._layer, _) = segment, segment.resolve(layer, size)
        self._times_input = attribution == GRADIENT
        self._rules: Propagation | nullcontext[None] = nullcontext()
        self._probe = torch.rand(1, 3, size, size, device=network.device)
        if attribution == LRP:
            plan = plan_rules(network.module, self._forward_probe, layer.name)
            check_rules(network.module, plan, self._forward_probe, layer.name)
            self._rules = Propagation(network.module, plan)
        else:
            self._forward_probe()

    def _forward_probe(self) -> None:
        """Remember the output for a random image before the network is canonized."""
        self._before = self._segment.forward(self._probe.clone().requires_grad_())[0].detach()

    def __enter__(self) -> "PixelHeatmaps":
        self._rules.__enter__()
        self.forward(self._probe)
        change = (self._output.detach() - self._before).abs().max() / self._before.abs().max().clamp(min=1e-12)
        if change > MAX_CHANGE:
            self._rules.__exit__(None, None, None)
            raise UserError(
                f"LRP would explain another network: merging BatchNorms below layer {self._layer.name!r} changes its output "
                f"by {change:.1%}; set attribution: gradient for this model to locate patches by input x gradient"
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._rules.__exit__(*error)

    def forward(self, images: torch.Tensor) -> None:
        """Run a batch of normalized images (b, 3, H, W) forward; backward passes may follow."""
        self._images = images.detach().requires_grad_()
        with torch.enable_grad(), nullcontext() if self._times_input else RelevanceSums():
            self._output, _ = self._segment.forward(self._images)
        self.maps = self._layer.maps(self._output).detach()

    def backward(self, row: np.ndarray, neuron: np.ndarray, position: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Explain one unit for each of some images of the batch, in one backward pass.

        Parameters
        ----------
        row
            (r,) positions of the images in the batch, each at most once.
        neuron, position
            (r,) the neuron that is explained on each, at one position of its map.

        Returns
        -------
        relevance : torch.Tensor
            (r, H, W) relevance of the pixels, summed over color.
        value : torch.Tensor
            (r,) activation that the backward pass was seeded with.
        """
        seed = torch.zeros_like(self.maps)
        value = self.maps[row, neuron, position]
        seed[row, neuron, position] = value
        (relevance,) = torch.autograd.grad(
            self._output, self._images, self._layer.unmap(self._output, seed), retain_graph=True
        )
        if self._times_input:
            relevance = relevance * self._images.detach()
        return relevance[row].sum(dim=1), value


def conserved_shares(network: Network, layer: LayerView, images: torch.Tensor, n_neurons: int) -> np.ndarray:
    """Measure which share of the relevance of a few units LRP brings to the pixels.

    Parameters
    ----------
    network, layer
        The network, and the layer whose units are explained.
    images
        (b, 3, H, W), normalized.
    n_neurons
        Neurons of each image, those with the largest activations, each at its largest.

    Returns
    -------
    numpy.ndarray
        (b n_neurons,) shares; NaN for a unit without activation.
    """
    rows = np.arange(len(images))
    shares = []
    with (
        Segment(network.module, layer.name) as segment,
        PixelHeatmaps(network, segment, layer, LRP, images.shape[-1]) as heatmaps,
    ):
        heatmaps.forward(images)
        largest, position = heatmaps.maps.cpu().max(dim=2)
        for neuron in largest.topk(min(n_neurons, largest.shape[1]), dim=1).indices.numpy().T:
            relevance, value = heatmaps.backward(rows, neuron, position.numpy()[rows, neuron])
            shares.append((relevance.sum(dim=(1, 2)) / value).detach().cpu().numpy())
    values = np.concatenate(shares)
    return np.where(np.isfinite(values), values, np.nan)
