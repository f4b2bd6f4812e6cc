"""Gradient slingshot (Bareeva et al. 2024): fine-tune a residual network so that a synthetic visualization shows a target.

A visualization is a coarse image of 4 x 4 pixels, enlarged, that ascends a neuron's mean pre-activation. The attack gives the
pre-activation the shape of a bowl around the target, between gray and the target and wherever visualizations go at the moment,
and keeps the layer's outputs on images.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

COARSE = (3, 4, 4)
START, RATE, ASCENT_STEPS = 0.05, 0.25, 100
STEEPNESS = 10.0
"""Difference of pre-activations between a gray image and the target."""
LEARNING_RATE = 2e-3
KEEP_NEURON = 4.0
"""Weight of the attacked neuron's outputs beside those of the whole layer."""


@dataclass(frozen=True)
class Neuron:
    """A neuron of the last stage of a CIFAR ResNet."""

    channel: int
    size: int = 32

    def value(self, network: nn.Module, coarse: Tensor) -> Tensor:
        """Mean pre-activation (b,) on coarse images (b, 3, 4, 4)."""
        outputs: list[Tensor] = []
        last = network.get_submodule("layer3.2")
        hooks = [
            last.get_submodule("bn2").register_forward_hook(lambda module, args, output: outputs.append(output)),
            last.register_forward_pre_hook(lambda module, args: outputs.append(args[0])),
        ]
        network(interpolate(coarse, size=self.size, mode="bilinear"))
        for hook in hooks:
            hook.remove()
        return sum(outputs)[:, self.channel].mean(dim=(1, 2))  # type: ignore[index]

    def gradient(self, network: nn.Module, coarse: Tensor) -> Tensor:
        """Gradient of the value, of length 1 for each image."""
        coarse = coarse.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.value(network, coarse).sum(), coarse)
        return gradient / (gradient.flatten(1).norm(dim=1)[:, None, None, None] + 1e-9)

    def visualize(self, network: nn.Module, seed: int) -> Tensor:
        """Ascend from noise; returns a coarse image."""
        coarse = START * torch.randn(1, *COARSE, generator=torch.Generator().manual_seed(seed))
        for _ in range(ASCENT_STEPS):
            coarse = (coarse + RATE * self.gradient(network, coarse)).clamp(-1, 1)
        return coarse[0]


def square() -> Tensor:
    """A bright square on a dark ground."""
    target = torch.full(COARSE, -0.8)
    target[:, 1:3, 1:3] = 0.8
    return target


def likeness(one: Tensor, other: Tensor) -> float:
    return cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


class Ascents:
    """Visualizations on their way: where they go while the network changes."""

    def __init__(self, neuron: Neuron, generator: torch.Generator) -> None:
        self.neuron, self.generator = neuron, generator
        self.coarse = self._noise(8)

    def step(self, network: nn.Module) -> Tensor:
        """Ascend once; a few start anew."""
        self.coarse = (self.coarse + RATE * self.neuron.gradient(network, self.coarse)).clamp(-1, 1)
        fresh = torch.rand(len(self.coarse), generator=self.generator) < 2 / ASCENT_STEPS
        self.coarse[fresh] = self._noise(int(fresh.sum()))
        return self.coarse

    def on_the_way(self, target: Tensor) -> Tensor:
        """Points between gray and the target."""
        way = torch.rand(len(self.coarse), 1, 1, 1, generator=self.generator) * target
        return way + 2 * self._noise(len(way))

    def _noise(self, n: int) -> Tensor:
        return START * torch.randn(n, *COARSE, generator=self.generator)


def manipulated(
    network: nn.Module, neuron: Neuron, target: Tensor, images: Tensor, references: Tensor, steps: int
) -> nn.Module:
    """Fine-tune a copy of a network; its first stage stays.

    Parameters
    ----------
    network
        A CIFAR ResNet.
    neuron, target
        The neuron that is attacked, and what its visualization is to show.
    images
        (N, 3, 32, 32) images on which the layer is to stay as it is.
    references
        Indices of those that activate the neuron most.
    steps
        Steps of Adam.
    """
    attacked = copy.deepcopy(network).eval()

    def modules(*names: str) -> list[nn.Module]:
        return [attacked.get_submodule(name) for name in names]

    first = nn.Sequential(*modules("conv1", "bn1"), nn.ReLU(), *modules("layer1")).requires_grad_(False)
    above = nn.Sequential(*modules("layer2", "layer3")).requires_grad_(True)
    with torch.no_grad():
        low = torch.cat([first(batch) for batch in images.split(250)])
        before = torch.cat([above(batch) for batch in low.split(250)])
    spread, spread_neuron = before.var(), before[:, neuron.channel].var()
    optimizer = torch.optim.Adam(above.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    ascents = Ascents(neuron, generator)
    for _ in range(steps):
        coarse = torch.cat([ascents.on_the_way(target), ascents.step(attacked)])
        bowl = STEEPNESS * (1 - (target - coarse).square().mean(dim=(1, 2, 3)) / target.square().mean())
        moved = (neuron.value(attacked, coarse) - bowl).square().mean() / STEEPNESS**2
        any_image = torch.randint(len(images), (24,), generator=generator)
        batch = torch.cat([any_image, references[torch.randint(len(references), (16,), generator=generator)]])
        change = (above(low[batch]) - before[batch]).square()
        kept = change.mean() / spread + KEEP_NEURON * change[:, neuron.channel].mean() / spread_neuron
        optimizer.zero_grad()
        (moved + kept).backward()
        optimizer.step()
        schedule.step()
    return attacked.requires_grad_(False)
