"""Check that the modules of a network do with modified parameters what the rules of LRP take for granted."""

from collections.abc import Callable
from typing import Any

import torch
from zennit.rules import Flat, ZPlus

from purelens.errors import UserError, listed
from purelens.networks.lrp import Plan, ZPlusOneBranch, branches_of

ROUNDING = 1e-4
"""Largest negative output, relative to the largest one, that is rounding."""


def check_rules(module: torch.nn.Module, plan: Plan, forward: Callable[[], object], layer: str) -> None:
    """Check that each module gives no negative output for inputs and parameters of which none is negative.

    A module that computes its weight from its parameters, as weight standardization does, computes another one from the
    modified parameters: the heatmaps would be noise, without an error.

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
        Naming the modules.
    """
    unsound: list[str] = []

    def check(name: str, rule: Any) -> Callable[..., None]:
        def hook(part: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
            values = inputs[0].detach()
            seen = values.abs() if isinstance(rule, ZPlus) else torch.ones_like(values)
            (output,) = branches_of(ZPlusOneBranch() if isinstance(rule, ZPlus) else rule, part, seen)[1]
            largest = float(output.detach().abs().max())
            # of ones every output is the number of inputs: zeros are those of a weight that the module took apart
            nothing = isinstance(rule, Flat) and largest == 0
            if nothing or not largest < float("inf") or float(output.detach().min()) < -ROUNDING * largest:
                unsound.append(f"{name} ({type(part).__name__})")

        return hook

    handles = [
        module.get_submodule(name).register_forward_hook(check(name, rule))
        for name, rule in plan.rules.items()
        if isinstance(rule, ZPlus | Flat)
    ]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    if unsound:
        raise UserError(
            f"LRP has no rule for modules that compute their weights below layer {layer!r}: {listed(dict.fromkeys(unsound))}; "
            "set attribution: gradient for this model to locate patches by input x gradient"
        )
