"""Check that a network gives the same for an image whenever it is asked: built again, and beside another image.

What every module returns is compared, not the outputs alone: a head may be zero, and need not return a tensor.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from purelens.errors import UserError

REBUILT = 1e-6
"""Largest relative difference between two networks of equal weights that is put down to rounding."""

TOGETHER = 1e-3
"""Largest relative difference of an image in two batches: rounding of 32 bits, summed over a deep network."""

Trace = list[tuple[str, torch.Tensor]]
"""For each tensor that a module returned: the module's name, and three means of each of its rows (rows, 3)."""


def check_same_when_rebuilt(module: torch.nn.Module, rebuilt: torch.nn.Module, size: int, architecture: str) -> None:
    """Check that a network that was built again from its architecture and weights is the same.

    Parameters
    ----------
    module, rebuilt
        The networks, on the CPU.
    size
        Side of their input in pixels.
    architecture
        Their name, for the message.

    Raises
    ------
    UserError
        If a module gives something else.
    """
    one, other = (_trace(network, _images(size)) for network in (module, rebuilt))
    same = [name for name, _ in one] == [name for name, _ in other] and one
    for (name, before), (_, after) in zip(one, other, strict=False):
        if not same or not _close(before, after, REBUILT):
            raise UserError(
                f"architecture {architecture!r} with the same weights gives other outputs (of {name or 'the network'!r}) when "
                "it is built again: it holds numbers that its state_dict() does not (drawn at random when it is built, for "
                "example); register them as buffers"
            )


def check_same_in_a_batch(module: torch.nn.Module, size: int) -> None:
    """Check that a network gives the same for an image alone and beside another one.

    Parameters
    ----------
    module
        The network with its weights, on the CPU.
    size
        Side of its input in pixels.

    Raises
    ------
    UserError
        Naming the first module that does not. Modules whose first axis is not that of the images are left out.
    """
    images = _images(size)
    together, *alone = (_trace(module, images[chosen]) for chosen in ([0, 1], [0], [1]))
    for (name, both), *each in zip(together, *alone, strict=False):
        images_first = len(both) == 2 and all(own == name and len(one) == 1 for own, one in each)
        if images_first and not _close(torch.cat([one for _, one in each]), both, TOGETHER):
            raise UserError(
                f"module {name or 'the network'!r} gives something else for an image when another one is in the batch (it "
                "mixes images, or draws random numbers); such a network has no activation of an image"
            )


def _images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def _trace(module: torch.nn.Module, images: torch.Tensor) -> Trace:
    """Run a network, and sum up what each module returns."""
    trace: Trace = []

    def hook(name: str) -> Callable[..., None]:
        return lambda _, __, output: trace.extend((name, _means(tensor)) for tensor in _tensors(output))

    handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules()]
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return trace


def _means(tensor: torch.Tensor) -> torch.Tensor:
    """Mean, mean magnitude, and a mean in which each place counts differently, of each row."""
    rows = tensor.double().reshape(len(tensor) if tensor.ndim else 1, -1)
    places = torch.cos(torch.arange(rows.shape[1], dtype=torch.float64))
    return torch.stack([rows.mean(dim=1), rows.abs().mean(dim=1), (rows * places).mean(dim=1)], dim=1)


def _close(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    """Compare means, relative to the mean magnitude."""
    if one.shape != other.shape:
        return False
    magnitude = one[:, 1:2].nan_to_num().expand_as(one)
    same = (one == other) | (one.isnan() & other.isnan()) | ((one - other).abs() <= tolerance * magnitude + 1e-12)
    return bool(same.all())


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    """List the tensors of real numbers in what a module returns."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point() and output.numel():
            yield output
    elif isinstance(output, Mapping):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _tensors(item)
    elif is_dataclass(output) and not isinstance(output, type):
        yield from _tensors([getattr(output, one.name) for one in fields(output)])
