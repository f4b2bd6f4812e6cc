"""Decide which axis of a layer's output holds its neurons, and that the first one holds the images.

Nothing in a tensor says so. Where the kind of layer does not decide, the shapes do: there are as many rows of positions as
columns, because images are square, and their number follows the size of the image, which the number of neurons does not.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from purelens.errors import UserError

FIRST, LAST = "first", "last"
CONVOLUTIONS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)

Shape = Sequence[int]


def kind_of(layer: nn.Module) -> str | None:
    """Tell where a kind of layer has its neurons, whatever its input; None if that is not known."""
    if isinstance(layer, CONVOLUTIONS):
        return FIRST
    # subclasses of LayerNorm with channels first are common: torchvision's and timm's LayerNorm2d
    return LAST if isinstance(layer, nn.Linear) or type(layer) is nn.LayerNorm else None


def width_of(layer: nn.Module) -> int | None:
    """Return the number of neurons that a layer declares; None if it declares none."""
    shape = getattr(layer, "normalized_shape", None)
    widths = [getattr(layer, key, None) for key in ("out_features", "out_channels", "num_features", "num_channels")]
    widths.append(shape[-1] if isinstance(shape, Sequence) and len(shape) == 1 else None)
    return next((width for width in widths if isinstance(width, int)), None)


def axis_of(name: str, layer: nn.Module, shape: Shape, larger: Shape | None, kinds: Callable[[], set[str]]) -> str:
    """Decide where the neurons of a layer are.

    Parameters
    ----------
    name, layer
        The layer.
    shape
        Shape of its output, the images first.
    larger
        Shape of its output for larger images; None if the network takes no others.
    kinds
        Tells where modules of known kind have their neurons in outputs of this shape.

    Returns
    -------
    str
        ``first`` (after the images) or ``last``.

    Raises
    ------
    UserError
        If that cannot be told, or the layer declares another number of neurons than its output has.
    """
    if len(shape) < 3:
        return FIRST
    width, kind = width_of(layer), kind_of(layer)
    fitting = [axis for axis, size in ((FIRST, shape[1]), (LAST, shape[-1])) if width in (None, size)]
    if not fitting and kind is not None:
        raise UserError(f"layer {name!r} declares {width} neurons, but its output is {_written(shape)}")
    if len(fitting) == 1:
        return fitting[0]
    decided = kind or by_positions(shape, larger)
    if decided is None:
        # an equal shape says something only if its axes are told apart by their lengths
        found = kinds() if len(shape) == 3 and shape[1] != shape[2] else set()
        decided = found.pop() if len(found) == 1 else _ambiguous(name, shape)
    return decided


def check_axis(name: str, layer: nn.Module, shape: Shape, axis: str) -> None:
    """Check where the user says that the neurons of a layer are.

    Parameters
    ----------
    name, layer, shape
        The layer, and the shape of its output, the images first.
    axis
        ``first`` or ``last``.

    Raises
    ------
    UserError
        If the layer declares another number of neurons than there would be.
    """
    width, n_neurons = width_of(layer), shape[1] if axis == FIRST else shape[-1]
    if width not in (None, n_neurons) and (width in shape[1:] or kind_of(layer) is not None):
        raise UserError(
            f"layer {name!r} declares {width} neurons, but channels: {axis} makes {n_neurons} of its output {_written(shape)}"
        )


def by_positions(shape: Shape, larger: Shape | None) -> str | None:
    """Tell where neurons are by which axes positions take up; None if that does not decide."""
    if larger is not None and len(larger) == len(shape) and tuple(larger) != tuple(shape):
        grows = [before != after for before, after in zip(shape, larger, strict=True)]
        if grows[1] != grows[-1]:
            return LAST if grows[1] else FIRST
    if len(shape) == 3:
        return None
    if shape[2] == shape[3] != shape[1]:
        return FIRST
    return LAST if shape[1] == shape[2] != shape[3] else None


def _ambiguous(name: str, shape: Shape) -> str:
    raise UserError(
        f"layer {name!r} gives {_written(shape)}, which does not say where its neurons are; set channels (of a lower layer: "
        "lower_channels) to first or last"
    )


def check_images_first(shapes: Mapping[str, tuple[Shape, Shape]]) -> None:
    """Check that the first axis of each layer's output holds the images.

    Parameters
    ----------
    shapes
        Shapes of each layer's output for two and for three images.

    Raises
    ------
    UserError
        Naming the layer and what its first axis may be.
    """
    for name, (of_two, of_three) in shapes.items():
        if (of_two[0], of_three[0]) != (2, 3):
            raise UserError(
                f"layer {name!r} gives {_written(of_two)} for two images and {_written(of_three)} for three: its first axis is "
                "not that of the images (tokens first, or windows or tiles of an image in the batch); choose a layer whose is"
            )


def _written(shape: Shape) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def check_independent(name: str, together: torch.Tensor, alone: torch.Tensor, tolerance: float) -> None:
    """Check that an image gives the same output in a batch and alone.

    Parameters
    ----------
    name
        What gives the output.
    together, alone
        Output of the images in one batch, and of each in a batch of its own.
    tolerance
        Largest difference, relative to the largest output.

    Raises
    ------
    UserError
        If they differ.
    """
    difference = float(((together - alone).abs().max() / alone.abs().max().clamp(min=1e-12)).detach())
    if difference > tolerance:
        raise UserError(
            f"{name} depends on what else is in the batch: it changes by {difference:.0%} (BatchNorm without running "
            "statistics, for example); such a network has no activation of an image"
        )
