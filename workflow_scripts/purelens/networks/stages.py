"""Find the blocks of a network and the stage that a layer ends, in the graph of a forward pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch.autograd.graph import Node

from purelens.errors import UserError
from purelens.networks.graph import (
    NORMALIZATIONS,
    VIEWS,
    WEIGHTED,
    all_below,
    below,
    is_activation_function,
    is_one_of,
    keeps_apart,
    keeps_neurons,
    node_of,
    tensors_in,
)

MOST_BLOCKS = 9
"""Blocks of a stage that are looked at, the nearest to the layer: transformers have no other end of a stage."""


@dataclass(frozen=True)
class Call:
    """A module that ran once in a forward pass.

    Attributes
    ----------
    name
        Its name in ``named_modules()``.
    before, after
        The operations that made its input and its output.
    shape
        Shape of its output.
    """

    name: str
    before: Node
    after: Node
    shape: tuple[int, ...]

    def holds(self, other: "Call") -> bool:
        """Tell whether another module lies inside this one."""
        return other.name.startswith(f"{self.name}.")


def watch(module: torch.nn.Module, run: Callable[[], object]) -> list[Call]:
    """Watch a forward pass: all modules that ran once and have one tensor as output, in the order in which they ended.

    Parameters
    ----------
    module
        The network.
    run
        Runs it forward, on images that require a gradient.
    """
    calls: list[Call] = []
    starts: dict[str, Node | None] = {}

    def start(name: str, inputs: tuple[object, ...]) -> None:
        given = [value for value in tensors_in(inputs) if value.requires_grad]
        starts[name] = node_of(given[0]) if given else None

    def end(name: str, output: object) -> None:
        before = starts[name]
        if before is not None and isinstance(output, torch.Tensor) and output.requires_grad:
            calls.append(Call(name, before, node_of(output), tuple(output.shape)))

    handles = []
    for name, inner in module.named_modules():
        if name:
            handles.append(inner.register_forward_pre_hook(lambda _, given, n=name: start(n, given)))
            handles.append(inner.register_forward_hook(lambda _, __, output, n=name: end(n, output)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    names = [call.name for call in calls]
    return [call for call in calls if names.count(call.name) == 1]


def residual_blocks(calls: Sequence[Call]) -> list[Call]:
    """Select the innermost modules that add what they compute to what they are given."""
    residual = [call for call in calls if _adds_to_its_input(call)]
    return [call for call in residual if not any(call.holds(other) for other in residual)]


def _adds_to_its_input(call: Call) -> bool:
    """Tell whether the last operation of a module that is no activation or scale adds two results made from its input."""
    node = call.after
    while node is not call.before and keeps_neurons(node) and not is_one_of(node, ("Add",)):
        inner = list(below(node))
        if len(inner) != 1:
            return False
        node = inner[0]
    operands = list(below(node)) if is_one_of(node, ("Add",)) and node is not call.before else []
    return len(operands) == 2 and all(call.before in all_below(operand, call.before) for operand in operands)


def inner_layers(calls: Sequence[Call], block: Call) -> list[str]:
    """Name the units inside a block: what its first activation function behind weights is given.

    The relevance of a unit is the same before and behind a ReLU, and modules before it are more often used once.
    """
    inside = [call for call in calls if block.holds(call)]
    functions = [node for node in all_below(block.after, block.before) if is_activation_function(node)]
    given = {inner for node in functions for inner in below(node)}
    for call in inside:
        if call.after in given and _has_weights(call.after):
            return [call.name]
    return []


def _has_weights(node: Node) -> bool:
    """Tell whether an operation, or the one before a normalization or a change of shape, has weights."""
    while is_one_of(node, (*NORMALIZATIONS, *VIEWS)):
        node = next(below(node))
    return is_one_of(node, WEIGHTED)


def siblings(calls: Sequence[Call], layer: Call) -> list[Call]:
    """Select what stands in for blocks where there are none: the modules beside a layer, but what is only given to the next."""
    parent = layer.name.rpartition(".")[0]
    beside = [call for call in calls if call.name.rpartition(".")[0] == parent]
    passed_on = {call.before for call in beside if _is_function_of_its_input(call)}
    return [call for call in beside if call.after not in passed_on or call is layer]


def _is_function_of_its_input(call: Call) -> bool:
    """Tell whether a module computes each value from one value: an activation function, a normalization, dropout."""
    steps = all_below(call.after, call.before) - {call.before}
    return all(
        is_activation_function(node) or is_one_of(node, NORMALIZATIONS) or keeps_neurons(node) for node in steps
    ) and (not any(is_one_of(node, ("MaxPool2DWithIndices", "MaxPool2D", "AvgPool2D", "Cat", "Add")) for node in steps))


@dataclass(frozen=True)
class Blocks:
    """The blocks around a layer.

    Attributes
    ----------
    target
        The layer.
    own
        The block that ends in the layer, or holds it.
    lower
        Blocks below, in the order in which they ran.
    """

    target: Call
    own: list[Call]
    lower: list[Call]


def blocks_around(calls: Sequence[Call], layer: str) -> Blocks:
    """Find the residual blocks around a layer; where a network has none, the modules beside it.

    Parameters
    ----------
    calls
        See `watch`.
    layer
        Name of the layer.

    Raises
    ------
    UserError
        If the layer does not run once on one tensor.
    """
    target = next((call for call in calls if call.name == layer), None)
    if target is None:
        raise UserError(f"lower_layers of layer {layer!r}: no stage can be found around it; name the lower layers")
    under = all_below(target.after)
    blocks = residual_blocks(calls) or siblings(calls, target)
    own = [block for block in blocks if block.after is target.after or block.holds(target)]
    lower = [block for block in blocks if block.after in under and block not in own and not block.holds(target)]
    return Blocks(target, own, lower)


def stage_of(calls: Sequence[Call], blocks: Blocks, n_neurons: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Find the stage that a layer ends: what lies between the last change of resolution and the layer.

    Parameters
    ----------
    calls
        See `watch`.
    blocks
        See `blocks_around`.
    n_neurons
        Number of neurons of the layer and of each block below it, by name.

    Returns
    -------
    outputs : list
        Outputs of the blocks below the layer, the highest first, and the input of the lowest of them.
    inside : list
        Units inside these blocks, and inside the one that ends in the layer or holds it.
    """
    target, stage = blocks.target, list[Call]()
    for block in reversed(blocks.lower):
        same = block.name in n_neurons and _n_positions(block, n_neurons) == _n_positions(target, n_neurons)
        if not same or len(stage) == MOST_BLOCKS - 1:
            break
        stage.append(block)
    lowest = (stage or blocks.own or [target])[-1]
    # what a pooling layer is given has no other circuits than what it gives
    given = [] if keeps_apart(lowest.after, lowest.before) else _named(calls, lowest.before)
    outputs = [block.name for block in stage] + given
    made_by, under = {call.name: call.after for call in calls}, all_below(target.after)
    inside = [name for block in [*blocks.own, *stage] for name in inner_layers(calls, block)]
    return outputs, [name for name in inside if made_by[name] in under and not keeps_apart(target.after, made_by[name])]


def _n_positions(call: Call, n_neurons: Mapping[str, int]) -> int:
    return prod(call.shape[1:]) // n_neurons[call.name]


def _named(calls: Sequence[Call], node: Node) -> list[str]:
    """Name the outermost module whose output is the result of an operation."""
    names = [call.name for call in calls if call.after is node]
    return [min(names, key=lambda name: name.count("."))] if names else []
