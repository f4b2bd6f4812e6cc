"""The floor of each stage: the arithmetic that cannot be left out, and nothing around it."""

import copy

import numpy as np
import torch

from purelens.bench.setting import Setting
from purelens.layers import Segment
from purelens.pairs import rounds


def bare_forward(setting: Setting) -> None:
    """Forward all images in the same batches."""
    network, pixels = setting.network(), torch.from_numpy(setting.pixels())
    with torch.inference_mode():
        for start in range(0, len(pixels), setting.batch_size):
            network.module(network.normalize(pixels[start : start + setting.batch_size].to(setting.device)))


def segment_gradients(setting: Setting) -> None:
    """Forward the unique images, and take the vector-Jacobian products of all pairs from the layer to the lower layer."""
    study, network = setting.study, setting.network()
    pixels, groups = setting.pixels(), setting.pairs().by_image()
    with Segment(network.module, study.layer, [study.lower_layer]) as segment:
        for start in range(0, len(groups), setting.batch_size):
            batch = groups[start : start + setting.batch_size]
            images = torch.from_numpy(pixels[[image for image, _ in batch]]).to(setting.device)
            output, lower = segment.forward(network.normalize(images))
            for r in rounds(batch):
                seed = torch.zeros_like(output)
                seed[r.row, 0] = 1
                torch.autograd.grad(output, lower[study.lower_layer], seed, retain_graph=True)


def one_branch_backward(setting: Setting) -> None:
    """Forward the unique images twice, as they are and with positive weights, and take a backward pass for each pair.

    That is what z+ needs where no input is negative: the second forward pass gives the denominators.
    """
    study, network = setting.study, setting.network()
    positive = _positive(network.module)
    pixels, groups = setting.pixels(), setting.pairs().by_image()
    with Segment(network.module, study.layer) as segment, Segment(positive, study.layer) as propagation:
        for start in range(0, len(groups), setting.batch_size):
            batch = groups[start : start + setting.batch_size]
            images = network.normalize(torch.from_numpy(pixels[[image for image, _ in batch]]).to(setting.device))
            with torch.inference_mode():
                segment.forward(images)
            leaf = images.requires_grad_()
            with torch.enable_grad():
                output, _ = propagation.forward(leaf)
            for r in rounds(batch):
                seed = torch.zeros_like(output)
                seed[r.row, 0] = 1
                torch.autograd.grad(output, leaf, seed, retain_graph=True)


def _positive(module: torch.nn.Module) -> torch.nn.Module:
    """The network with positive weights, and without BatchNorms, which z+ merges."""
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
