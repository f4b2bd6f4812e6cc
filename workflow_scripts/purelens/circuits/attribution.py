"""Attribute neurons of a layer to the neurons of lower layers, by gradient times activation."""

import numpy as np
import torch

from purelens.errors import UserError
from purelens.networks.subnetwork import LayerView, Segment

L1_FLOOR = 1e-10


class Attribution:
    """Gradient times activation, from neurons of a layer to its lower layers.

    Parameters
    ----------
    segment
        The part of the network between the lower layers and the layer.
    layer
        The layer.
    normalize
        ``l1``: divide each vector by the sum of its absolute values; ``none``.

    Notes
    -----
    For neuron k with activation a_k(p) at position p, the relevance of lower neuron c is the sum over its positions of its
    activation times the gradient of 1/2 sum_p relu(a_k(p))^2 (Dreyer et al. 2024, equation 2). The gradient of that objective
    with respect to the layer's output is relu(a_k(p)), which is what the backward pass is seeded with.
    """

    def __init__(self, segment: Segment, layer: LayerView, normalize: str = "l1") -> None:
        self._segment, self._layer, self._normalize = segment, layer, normalize

    def forward(self, images: torch.Tensor) -> None:
        """Run a batch of normalized images (b, 3, H, W) forward; backward passes may follow."""
        with torch.enable_grad():
            self._output, self._lower = self._segment.forward(images)
            self._maps = self._layer.maps(self._output).detach()

    def backward(self, row: np.ndarray, neuron: np.ndarray) -> dict[str, torch.Tensor]:
        """Attribute one neuron for each of some images of the batch, in one backward pass.

        Parameters
        ----------
        row
            (r,) positions of the images in the batch, each at most once.
        neuron
            (r,) the neuron that is attributed on each.

        Returns
        -------
        dict
            Relevances (r, C_lower) of each lower layer.

        Raises
        ------
        UserError
            If a lower layer does not feed the layer.
        """
        seed = torch.zeros_like(self._maps)
        seed[row, neuron] = self._maps[row, neuron].clamp(min=0)
        gradients = torch.autograd.grad(
            self._output,
            list(self._lower.values()),
            grad_outputs=self._layer.unmap(self._output, seed),
            retain_graph=True,
            allow_unused=True,
        )
        relevances = {}
        for (name, activation), gradient in zip(self._lower.items(), gradients, strict=True):
            if gradient is None:
                raise UserError(f"lower layer {name!r} does not feed layer {self._layer.name!r}")
            product = (activation.detach() * gradient)[row]
            relevances[name] = self._normalized(self._layer.of(name).maps(product).sum(dim=-1))
        return relevances

    def _normalized(self, relevance: torch.Tensor) -> torch.Tensor:
        if self._normalize == "none":
            return relevance
        return relevance / (relevance.abs().sum(dim=1, keepdim=True) + L1_FLOOR)
