"""Attribute units of a layer to the neurons of lower layers, by gradient times activation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from purelens.errors import UserError
from purelens.networks.shortcuts import NOT_JOINED, joined_neurons
from purelens.networks.subnetwork import LayerView, Segment

L1_FLOOR = 1e-10

LEAVE_OUT, KEEP = "leave_out", "keep"
"""What is done with the lower neurons that an identity shortcut joins to the neuron."""


@dataclass(frozen=True)
class Attributed:
    """Units, attributed on an image each.

    Attributes
    ----------
    relevance
        (r, C_lower) relevances at each lower layer, by name; 0 where a shortcut joins the lower neuron to the unit.
    joined_share
        (r,) share of the relevance that those would have had, at each lower layer with any.
    """

    relevance: dict[str, torch.Tensor]
    joined_share: dict[str, torch.Tensor]


class Attribution:
    """Gradient times activation, from units of a layer to its lower layers.

    Parameters
    ----------
    segment
        The part of the network between the lower layers and the layer.
    layer
        The layer.
    normalize
        ``l1``: divide each vector by the sum of its absolute values; ``none``.
    joined
        Neuron of the layer that a shortcut joins each lower neuron to (see `purelens.networks.shortcuts.joined_neurons`): for
        the units with a weight on it, the lower neuron is left out.

    Attributes
    ----------
    joined
        As given.

    Notes
    -----
    A unit is a direction w of the layer, a neuron the one-hot case, with the map u(p) = relu(sum_c w_c a_c(p)) over positions
    p. The relevance of lower neuron c is the sum over its positions of its activation times the gradient of 1/2 sum_p u(p)^2
    (Dreyer et al. 2024, equation 2). The gradient of that objective with respect to the layer's output is u(p) w, which is
    what the backward pass is seeded with.
    """

    def __init__(
        self,
        segment: Segment,
        layer: LayerView,
        normalize: str = "l1",
        joined: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._segment, self._layer, self._normalize = segment, layer, normalize
        self.joined = dict(joined or {})

    def forward(self, images: torch.Tensor) -> None:
        """Run a batch of normalized images (b, 3, H, W) forward; backward passes may follow."""
        with torch.enable_grad():
            self._output, self._lower = self._segment.forward(images)
            self._maps = self._layer.maps(self._output).detach()

    @property
    def n_neurons(self) -> int:
        """Number of neurons of the layer; after a forward pass."""
        return self._maps.shape[1]

    def directions(self, neurons: np.ndarray) -> torch.Tensor:
        """Write neurons (r,) as directions (r, C)."""
        numbers = torch.as_tensor(neurons, dtype=torch.int64, device=self._maps.device)
        return torch.nn.functional.one_hot(numbers, self.n_neurons).to(self._maps.dtype)

    def backward(self, row: np.ndarray, neuron: np.ndarray) -> dict[str, torch.Tensor]:
        """Attribute one neuron (r,) for each of some images of the batch (see `attribute`): relevances (r, C_lower)."""
        return self.attribute(row, self.directions(neuron)).relevance

    def attribute(self, row: np.ndarray, direction: torch.Tensor) -> Attributed:
        """Attribute one unit for each of some images of the batch, in one backward pass.

        Parameters
        ----------
        row
            (r,) positions of the images in the batch, each at most once.
        direction
            (r, C) the unit that is attributed on each.

        Returns
        -------
        Attributed
            Relevances of each lower layer.

        Raises
        ------
        UserError
            If a lower layer does not feed the layer.
        """
        seed = torch.zeros_like(self._maps)
        seed[row] = self._unit_maps(row, direction)[:, None] * direction[:, :, None]
        gradients = torch.autograd.grad(
            self._output,
            list(self._lower.values()),
            grad_outputs=self._layer.unmap(self._output, seed),
            retain_graph=True,
            allow_unused=True,
        )
        relevances, shares = {}, {}
        for (name, activation), gradient in zip(self._lower.items(), gradients, strict=True):
            if gradient is None:
                raise UserError(f"lower layer {name!r} does not feed layer {self._layer.name!r}")
            product = (activation.detach() * gradient)[row]
            relevance = self._layer.of(name).maps(product).sum(dim=-1)
            if name in self.joined:
                relevance, shares[name] = _without(relevance, self._is_joined(name, direction))
            relevances[name] = self._normalized(relevance)
        return Attributed(relevances, shares)

    def weighted_activations(self, row: np.ndarray, direction: torch.Tensor) -> torch.Tensor:
        """Average the activations of the layer over positions, with the map of a unit as weight.

        Parameters
        ----------
        row, direction
            See `attribute`.

        Returns
        -------
        torch.Tensor
            (r, C); 0 where the unit is not active.
        """
        weight = self._unit_maps(row, direction)
        maps = self._layer.maps(self._segment.final)[row]
        return torch.einsum("rcp,rp->rc", maps, weight) / weight.sum(dim=1, keepdim=True).clamp(min=L1_FLOOR)

    def _unit_maps(self, row: np.ndarray, direction: torch.Tensor) -> torch.Tensor:
        """Compute the maps (r, P) of units."""
        return torch.einsum("rcp,rc->rp", self._maps[row], direction).clamp(min=0)

    def _is_joined(self, lower_layer: str, direction: torch.Tensor) -> torch.Tensor:
        """Tell which lower neurons a shortcut joins to units (r, C): (r, C_lower) bool."""
        joined = torch.as_tensor(self.joined[lower_layer], device=direction.device)
        return (direction[:, joined.clamp(min=0)] != 0) & (joined != NOT_JOINED)

    def _normalized(self, relevance: torch.Tensor) -> torch.Tensor:
        if self._normalize == "none":
            return relevance
        return relevance / (relevance.abs().sum(dim=1, keepdim=True) + L1_FLOOR)


def _without(relevance: torch.Tensor, joined: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Set joined lower neurons to zero; returns the share that they had besides."""
    size = relevance.abs()
    share = torch.where(joined, size, 0).sum(dim=1) / (size.sum(dim=1) + L1_FLOOR)
    return relevance.masked_fill(joined, 0), share


def open_attribution(
    segment: Segment, layer: LayerView, image: torch.Tensor, normalize: str = "l1", skip_channels: str = LEAVE_OUT
) -> Attribution:
    """Make an attribution of a layer whose axes are known.

    Parameters
    ----------
    segment, layer, normalize
        See `Attribution`.
    image
        (1, 3, H, W), normalized, to look at the network with.
    skip_channels
        ``leave_out`` or ``keep`` the lower neurons that an identity shortcut joins to a unit.

    Returns
    -------
    Attribution
        Lower layers without joined neurons are not asked for them.
    """
    joined = joined_neurons(segment, layer, image) if skip_channels == LEAVE_OUT else {}
    some = {name: numbers for name, numbers in joined.items() if (numbers != NOT_JOINED).any()}
    return Attribution(segment, layer, normalize, some)
