"""Compute the activation of a neuron while neurons of a lower layer are replaced by their means."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import torch

from purelens.data.dataset import Images
from purelens.networks.batching import filled, in_batches
from purelens.networks.loading import Network
from purelens.networks.subnetwork import LayerView, Segment, find_layer

MEAN_OF = 512
"""Images that the means of lower neurons are taken over: means of thousands of positions hardly move with more."""

MOST_COPIED = 2**25
"""Numbers in all copies of a batch together: 128 MB."""

MOST_TRIES = 40
"""Modules that are tried as the place where a batch is copied; else the images are."""


class Replacement:
    """A network in which neurons of a lower layer can be replaced.

    What lies below is computed once for all sets of replaced neurons: the batch is copied, a copy for each set, behind the last
    module that everything above depends on alone.

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

    Attributes
    ----------
    copied_behind
        Name of the module whose output is copied; None: the images are.
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
        self._numbers = 1  # of what is copied, for each image
        self.copied_behind = self._find_place()

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

        def compute(start: int, stop: int, _: int) -> np.ndarray:
            images = self._network.prepare(self._images.take(ids[start:stop]))
            together = max(1, MOST_COPIED // (self._numbers * len(images)))
            some = [replaced[first : first + together] for first in range(0, len(replaced), together)]
            return torch.cat([self._run(images, sets)[:, :, neuron] for sets in some]).cpu().numpy()

        batches = in_batches(compute, len(ids), self._network.device, self._images.size, self._batch_size)
        for start, stop, found in batches:
            values[:, start:stop] = found
        return values

    def _run(self, images: torch.Tensor, replaced: Sequence[np.ndarray]) -> torch.Tensor:
        """Compute the largest activation of all neurons (m, b, C) on images (b, 3, H, W), for m sets at a time."""
        numbers = [torch.as_tensor(one, dtype=torch.int64, device=images.device) for one in replaced]
        n_sets, n_images = len(numbers), len(images)

        def copy(output: torch.Tensor) -> torch.Tensor:
            self._numbers = output.numel() // n_images
            return output.repeat(n_sets, *[1] * (output.ndim - 1))

        def replace(output: torch.Tensor) -> torch.Tensor:
            maps = self._lower.maps(output).clone()
            for place, lower_neurons in enumerate(numbers):
                maps[place * n_images : (place + 1) * n_images, lower_neurons] = self._mean[lower_neurons][:, None]
            return self._lower.unmap(output, maps)

        with torch.inference_mode(), ExitStack() as stack:
            if self.copied_behind is None:
                images = copy(images)
            else:
                stack.enter_context(self._changed(self.copied_behind, copy))
            stack.enter_context(self._changed(self._lower.name, replace))
            output, _ = self._segment.forward(images)
            return self._layer.maps(output).amax(dim=2).unflatten(0, (n_sets, n_images))

    @contextmanager
    def _changed(self, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        """Change the output of a module, in the passes inside the block."""
        module = find_layer(self._network.module, name)
        handle = module.register_forward_hook(lambda _, __, output: change(output))
        try:
            yield
        finally:
            handle.remove()

    def _find_place(self) -> str | None:
        """Find the last module up to the lower layer whose output can be copied in place of the images.

        It is tried: where a shortcut leads around a module, what it carries does not fit the copies.
        """
        images = self._network.prepare(self._images.take(np.arange(min(2, len(self._images)))))
        nothing = np.zeros(0, dtype=int)
        self.copied_behind = None
        expected = self._run(images, [nothing, nothing])
        tolerance = 1e-4 * float(expected.abs().max())
        for name in reversed(self._modules_up_to_lower_layer(images)[-MOST_TRIES:]):
            self.copied_behind = name
            with suppress(Exception):  # networks fail in their own ways where sizes of batches differ
                if len(images) == 2 and torch.allclose(
                    self._run(images, [nothing, nothing]), expected, 1e-3, tolerance
                ):
                    return name
        self.copied_behind = None
        self._run(images, [nothing])  # counts the numbers of what is copied now
        return None

    def _modules_up_to_lower_layer(self, images: torch.Tensor) -> list[str]:
        """List the modules that end before the lower layer or with it, in that order; each runs once."""
        ended: list[str] = []

        def end(name: str) -> Callable[..., None]:
            return lambda *_: ended.append(name)

        handles = [part.register_forward_hook(end(name)) for name, part in self._network.module.named_modules() if name]
        try:
            with torch.inference_mode():
                self._segment.forward(images)
        finally:
            for handle in handles:
                handle.remove()
        before = ended[: ended.index(self._lower.name) + 1]
        return [name for name in before if ended.count(name) == 1]

    def _means(self) -> torch.Tensor:
        """Average the lower neurons (C_lower,) over positions, and over images at equal distances."""
        n_images = len(self._images)
        ids = np.unique(np.linspace(0, n_images - 1, min(n_images, MEAN_OF)).astype(int))
        seen: list[torch.Tensor] = []

        def see(output: torch.Tensor) -> torch.Tensor:
            seen.append(self._lower.maps(output).mean(dim=2))
            return output

        def add(start: int, stop: int, size: int) -> torch.Tensor:
            seen.clear()
            with torch.inference_mode(), self._changed(self._lower.name, see):
                self._segment.forward(self._network.prepare(filled(self._images.take(ids[start:stop]), size)))
            return seen[-1][: stop - start].double().sum(dim=0)

        batches = in_batches(add, len(ids), self._network.device, self._images.size, self._batch_size)
        total = torch.stack([sums for _, _, sums in batches]).sum(dim=0)
        return (total / len(ids)).float()
