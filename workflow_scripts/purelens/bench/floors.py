"""The floor of each stage: the arithmetic that every implementation needs, and nothing else.

Each function reads pixels, loads the network and returns the function that is timed.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch

from purelens.bench.setting import Setting
from purelens.circuits.pairs import rounds
from purelens.networks.subnetwork import Segment


def bare_forward(setting: Setting) -> Callable[[], None]:
    """Forward all images in the same batches."""
    network, pixels = setting.network(), setting.pixels()

    def forward() -> None:
        with torch.inference_mode():
            for start in range(0, len(pixels), setting.batch_size):
                network.module(network.prepare(pixels[start : start + setting.batch_size]))

    return forward


def segment_gradients(setting: Setting) -> Callable[[], None]:
    """Forward the unique images, and take the vector-Jacobian products of all pairs from the layer to the lower layer."""
    study, network = setting.study, setting.network()
    batches = _batches(setting)

    def gradients() -> None:
        with Segment(network.module, study.layer, [study.lower_layer]) as segment:
            for images, batch in batches:
                output, lower = segment.forward(network.prepare(images))
                _backward(output, lower[study.lower_layer], batch)

    return gradients


def one_branch_backward(setting: Setting) -> Callable[[], None]:
    """Forward the unique images twice, with the weights and with positive ones, and take a backward pass for each pair.

    The z+ rule needs that much where no input is negative: the second forward pass gives the denominators.
    """
    study, network = setting.study, setting.network()
    positive, batches = _positive(network.module), _batches(setting)

    def backward() -> None:
        with Segment(network.module, study.layer) as segment, Segment(positive, study.layer) as propagation:
            for pixels, batch in batches:
                images = network.prepare(pixels)
                with torch.inference_mode():
                    segment.forward(images)
                leaf = images.requires_grad_()
                with torch.enable_grad():
                    output, _ = propagation.forward(leaf)
                _backward(output, leaf, batch)

    return backward


Batch = list[tuple[int, np.ndarray]]


def _batches(setting: Setting) -> list[tuple[np.ndarray, Batch]]:
    """List the pixels of the unique images and their pairs, in batches."""
    pixels, groups = setting.pixels(), setting.pairs().by_image()
    chosen = [groups[start : start + setting.batch_size] for start in range(0, len(groups), setting.batch_size)]
    return [(pixels[[image for image, _ in batch]], batch) for batch in chosen]


def _backward(output: torch.Tensor, leaf: torch.Tensor, batch: Batch) -> None:
    """Compute a vector-Jacobian product for each pair of a batch."""
    for r in rounds(batch):
        seed = torch.zeros_like(output)
        seed[r.row, 0] = 1
        torch.autograd.grad(output, leaf, seed, retain_graph=True)


def _positive(module: torch.nn.Module) -> torch.nn.Module:
    """Copy the network with positive weights and without BatchNorms, which z+ merges into convolutions."""
    positive = copy.deepcopy(module)
    for name, layer in [*positive.named_modules()]:
        if isinstance(layer, torch.nn.BatchNorm2d):
            parent, _, leaf = name.rpartition(".")
            setattr(positive.get_submodule(parent), leaf, torch.nn.Identity())
        elif isinstance(layer, torch.nn.Conv2d):
            with torch.no_grad():
                layer.weight.clamp_(min=0)
                layer.weight.mul_(1 / np.sqrt(layer.weight[0].numel()))  # no overflow
    return positive
