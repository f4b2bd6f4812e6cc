"""Check that the modules of a network do with modified parameters what the rules of LRP take for granted."""

from collections.abc import Callable
from typing import Any

import torch
from zennit.rules import Flat, ZPlus
from zennit.types import BatchNorm, Linear

from purelens.errors import UserError, listed
from purelens.networks.lrp import Plan, ZPlusOneBranch, branches_of

ROUNDING = 1e-4
"""Largest negative output, and difference of outputs, relative to the largest one, that is rounding."""


def check_rules(module: torch.nn.Module, plan: Plan, forward: Callable[[], object], layer: str) -> None:
    """Check each module that runs on the way to a layer.

    Parameters
    ----------
    module
        The network, on a device with numbers.
    plan
        Its rules.
    forward
        Runs it up to the layer.
    layer
        The layer's name, for the message.

    Raises
    ------
    UserError
        Naming the modules that compute something else than their kind does.

    Notes
    -----
    A convolution or linear layer that is affine in its input conserves relevance but for its bias. One that gives nothing
    negative for inputs and parameters that are not takes its weight from its parameters: a module that computes its weight
    itself, as weight standardization does, computes another one from the modified parameters, and heatmaps would be noise.
    Subclasses of modules that pass relevance on as it is are compared with their library's own.
    """
    unsound: list[str] = []

    def check(name: str) -> Callable[..., None]:
        def hook(part: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
            if not (
                _is_sound(part, plan.rules.get(name), inputs[0].detach()) and _is_its_kind(part, inputs[0].detach())
            ):
                unsound.append(f"{name} ({type(part).__name__})")

        return hook

    handles = [module.get_submodule(name).register_forward_hook(check(name)) for name in dict.fromkeys(plan.known)]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    if unsound:
        raise UserError(
            f"LRP has no rule for modules that compute something else than their kind below layer {layer!r}: "
            f"{listed(dict.fromkeys(unsound))}; set attribution: gradient for this model to locate patches by input x gradient"
        )


def _is_sound(part: torch.nn.Module, rule: Any, values: torch.Tensor) -> bool:
    """Tell whether a module gives nothing negative for inputs and parameters that are not."""
    if not isinstance(rule, ZPlus | Flat):
        return True
    seen = values.abs() if isinstance(rule, ZPlus) else torch.ones_like(values)
    (output,) = branches_of(ZPlusOneBranch() if isinstance(rule, ZPlus) else rule, part, seen)[1]
    largest = float(output.detach().abs().max())
    # of ones every output is the number of inputs: zeros are those of a weight that the module took apart
    nothing = isinstance(rule, Flat) and largest == 0
    return not nothing and largest < float("inf") and float(output.detach().min()) >= -ROUNDING * largest


def _is_its_kind(part: torch.nn.Module, values: torch.Tensor) -> bool:
    """Tell whether a subclass of a module of torch's computes what its kind does."""
    own: Any = next(kind for kind in type(part).__mro__ if kind.__module__.startswith("torch.nn."))
    if type(part) is own and "forward" not in vars(part):
        return True
    with torch.no_grad():
        if isinstance(part, Linear):
            # of an affine function, what two inputs add up to is the sum of what each adds
            other = values.roll(1, dims=-1) * 0.7
            nothing = part.forward(torch.zeros_like(values))
            parts = part.forward(values) + part.forward(other) - nothing
            return _equal(part.forward(values + other), parts)
        expected = own.forward(part, values.clone())
        output = part.forward(values.clone())
        # BatchNorms with the ReLU in them are common: relevance passes both as it is
        return _equal(output, expected) or (isinstance(part, BatchNorm) and _equal(output, expected.clamp(min=0)))


def _equal(one: object, other: torch.Tensor) -> bool:
    if not isinstance(one, torch.Tensor) or one.shape != other.shape:
        return False
    return float((one - other).abs().max()) <= ROUNDING * float(other.abs().max()) + 1e-12
