"""Walk through the graph that torch's autograd keeps of a forward pass, and tell what the operations in it do."""

from collections.abc import Iterable, Iterator

import torch
from torch.autograd.graph import Node, get_gradient_edge

ACTIVATION_FUNCTIONS = frozenset(
    f"{name}Backward0"
    for name in (
        "Relu", "LeakyRelu", "Prelu", "Elu", "Gelu", "Silu", "Mish", "Hardtanh", "Hardswish", "Hardsigmoid", "Sigmoid",
        "Tanh", "Softplus",
    )
)  # fmt: skip
"""Nonlinear functions of each value alone."""

WEIGHTED = ("Convolution", "Addmm", "Mm", "Bmm", "Linear")
VIEWS = ("View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose")

NORMALIZATIONS = ("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeLayerNorm", "NativeGroupNorm")

MOVING = (
    "Add", "Sub", "Clone", "Copy", "View", "UnsafeView", "ReshapeAlias", "Alias", "Slice", "Select", "ConstantPadNd", "Cat",
    "Stack", "Permute", "Transpose", "T", "Squeeze", "Unsqueeze", "Expand", "Split", "SplitWithSizes", "Unbind", "Narrow",
    "MaxPool2DWithIndices", "MaxPool2D", "AdaptiveMaxPool2D", "AvgPool2D", "AdaptiveAvgPool2D", "ToCopy", "Index", "Roll",
)  # fmt: skip
"""Operations that move values, choose among positions or add values, and mix no neurons."""

OF_EACH_NEURON = ("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeDropout", "FeatureDropout")
"""Operations that scale each neuron by itself."""


def node_of(tensor: torch.Tensor) -> Node:
    """Return the operation that made a tensor, or the end of the graph for one that nothing made."""
    return get_gradient_edge(tensor).node


def tensors_in(values: Iterable[object]) -> Iterator[torch.Tensor]:
    """Find the tensors among arguments, those in lists included."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def below(node: Node) -> Iterator[Node]:
    """List the operations whose results an operation takes."""
    return (inner for inner, _ in node.next_functions if inner is not None)


def all_below(node: Node, until: Node | None = None) -> set[Node]:
    """Collect all operations that a result was made by, the last included; those below ``until`` are left out."""
    seen, waiting = {node}, [node]
    while waiting:
        current = waiting.pop()
        if current is not until:
            new = [inner for inner in below(current) if inner not in seen]
            seen.update(new)
            waiting.extend(new)
    return seen


def is_one_of(node: Node, names: tuple[str, ...]) -> bool:
    """Tell whether an operation has one of some names, such as ``Add`` for ``AddBackward0``."""
    return node.name().partition("Backward")[0] in names


def is_activation_function(node: Node) -> bool:
    """Tell whether an operation is an activation function."""
    return node.name() in ACTIVATION_FUNCTIONS


def scales(node: Node) -> bool:
    """Tell whether an operation multiplies an activation by constants."""
    return is_one_of(node, ("Mul", "Div")) and len(list(below(node))) == 1


def keeps_neurons(node: Node) -> bool:
    """Tell whether each neuron of a result comes from one neuron alone, or from sums of one neuron of each operand."""
    return is_activation_function(node) or is_one_of(node, (*MOVING, *OF_EACH_NEURON)) or scales(node)


def keeps_apart(last: Node, first: Node) -> bool:
    """Tell whether each neuron of one result comes from one neuron of another alone, on every way between them."""
    waiting = [(last, False)]
    seen = set(waiting)
    while waiting:
        node, mixed = waiting.pop()
        if node is first:
            if mixed:
                return False
            continue
        mixed = mixed or not keeps_neurons(node)
        new = {(inner, mixed) for inner in below(node)} - seen
        seen |= new
        waiting.extend(new)
    return True
