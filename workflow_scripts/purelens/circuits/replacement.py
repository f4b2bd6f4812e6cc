"""Compute the activation of a neuron while neurons of a lower layer are replaced by their means."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from purelens.data.dataset import Images
from purelens.networks.batching import filled, in_batches
from purelens.networks.loading import Network
from purelens.networks.subnetwork import LayerView, Segment, find_layer

MEAN_OF = 512
"""Images that the means of lower neurons are taken over: means of thousands of positions hardly move with more."""


class Replacement:
    """A network in which neurons of a lower layer can be replaced.

    Parameters
    ----------
    network, images
        The network and the images.
    segment
        Its part up to the layer, without lower layers.
    layer
        The layer, resolved.
    lower_layer
        The lower layer, resolved.
    batch_size
        Images per batch at first; None: what the device is given.
    """

    def __init__(
        self,
        network: Network,
        images: Images,
        segment: Segment,
        layer: LayerView,
        lower_layer: LayerView,
        batch_size: int | None = None,
    ) -> None:
        self._network, self._images, self._segment = network, images, segment
        self._layer, self._lower, self._batch_size = layer, lower_layer, batch_size
        self._mean = self._means()

    def largest(self, ids: np.ndarray, neuron: int, replaced: Sequence[np.ndarray]) -> np.ndarray:
        """Compute the largest activation of a neuron over positions, for several sets of replaced lower neurons.

        Parameters
        ----------
        ids
            (n,) images.
        neuron
            Number of the neuron.
        replaced
            (m,) numbers of lower neurons for each set; an empty one replaces nothing.

        Returns
        -------
        numpy.ndarray
            (len(replaced), n).
        """
        values = np.empty((len(replaced), len(ids)), dtype=np.float64)

        def compute(start: int, stop: int, size: int) -> np.ndarray:
            batch = self._network.prepare(filled(self._images.take(ids[start:stop]), size))
            rows = []
            for lower_neurons in replaced:
                with torch.inference_mode(), self._replaced(lower_neurons):
                    output, _ = self._segment.forward(batch)
                    rows.append(self._layer.maps(output)[: stop - start, neuron].amax(dim=1).cpu().numpy())
            return np.stack(rows)

        for start, stop, found in in_batches(
            compute, len(ids), self._network.device, self._images.size, self._batch_size
        ):
            values[:, start:stop] = found
        return values

    @contextmanager
    def _replaced(self, lower_neurons: np.ndarray) -> Iterator[None]:
        """Give lower neurons their mean at all positions, in the passes inside the block."""
        numbers = torch.as_tensor(lower_neurons, dtype=torch.int64, device=self._network.device)

        def hook(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            maps = self._lower.maps(output).clone()
            maps[:, numbers] = self._mean[numbers][:, None]
            return self._lower.unmap(output, maps)

        handle = find_layer(self._network.module, self._lower.name).register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _means(self) -> torch.Tensor:
        """Average the lower neurons (C_lower,) over positions, and over images at equal distances."""
        n_images = len(self._images)
        ids = np.unique(np.linspace(0, n_images - 1, min(n_images, MEAN_OF)).astype(int))
        total: list[torch.Tensor] = []

        def hook(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
            seen.append(self._lower.maps(output).mean(dim=2))

        def add(start: int, stop: int, size: int) -> torch.Tensor:
            seen.clear()
            with torch.inference_mode():
                self._segment.forward(self._network.prepare(filled(self._images.take(ids[start:stop]), size)))
            return seen[-1][: stop - start].double().sum(dim=0)

        seen: list[torch.Tensor] = []
        handle = find_layer(self._network.module, self._lower.name).register_forward_hook(hook)
        try:
            batches = in_batches(add, len(ids), self._network.device, self._images.size, self._batch_size)
            total = [sums for _, _, sums in batches]
        finally:
            handle.remove()
        return (torch.stack(total).sum(dim=0) / len(ids)).float()
