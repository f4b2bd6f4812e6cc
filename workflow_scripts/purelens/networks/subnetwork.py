"""Run a network up to a layer, and differentiate between two layers, without touching what lies below or above."""

from collections.abc import Sequence
from types import TracebackType

import torch

from purelens.errors import UserError, nearest


class _Reached(BaseException):
    """Ends a forward pass at the last layer wanted. Not an ``Exception``: no network may swallow it."""


def find_layer(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """Return a layer by its name in ``named_modules()``.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    layers = {key: layer for key, layer in module.named_modules() if key}
    if name not in layers:
        top = ", ".join(key for key, _ in module.named_children())
        raise UserError(f"there is no layer {name!r}{nearest(name, layers)}; at the top level there are {top}")
    return layers[name]


def as_maps(output: torch.Tensor, layer: str, channels: str = "auto") -> torch.Tensor:
    """Bring a layer's output to (b, neurons, positions).

    Convolutions give (b, c, h, w), linear layers (b, c), transformers (b, tokens, c).

    Parameters
    ----------
    output
        What the layer gave.
    layer
        Its name, for the message.
    channels
        ``first`` (after the batch), ``last``, or ``auto``: last for three dimensions, else first. It matters for three and
        four dimensions.

    Raises
    ------
    UserError
        If the output is not a tensor of two to four dimensions.
    """
    if not isinstance(output, torch.Tensor) or not 2 <= output.ndim <= 4:
        kind = f"{output.ndim} dimensions" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
        raise UserError(f"layer {layer!r} gives {kind}; a layer to study gives one tensor of 2 to 4 dimensions")
    if output.ndim == 2:
        return output.unsqueeze(-1)
    last = channels == "last" or (channels == "auto" and output.ndim == 3)
    maps = output.movedim(-1, 1) if last else output
    return maps.flatten(2)


def seed_like(output: torch.Tensor, maps: torch.Tensor, channels: str = "auto") -> torch.Tensor:
    """Bring (b, neurons, positions) back to the shape of a layer's output: the inverse of `as_maps`."""
    if output.ndim == 2:
        return maps.squeeze(-1)
    last = channels == "last" or (channels == "auto" and output.ndim == 3)
    if not last:
        return maps.reshape(output.shape)
    return maps.reshape(output.movedim(-1, 1).shape).movedim(1, -1)


class Segment:
    """The part of a network between lower layers and a target layer.

    A forward pass ends at the target. If there are lower layers, their outputs are the leaves of the graph: a backward
    pass from the target never enters what lies below the lowest of them. Outputs are copied when they are recorded, so a
    later in-place operation does not change them. Use it in a ``with`` block.

    Parameters
    ----------
    module
        The network, frozen.
    target
        Name of the layer where forward passes end.
    lower_layers
        Names of layers below it.
    """

    def __init__(self, module: torch.nn.Module, target: str, lower_layers: Sequence[str] = ()) -> None:
        self._module = module
        self._target = target
        self._lower_layers = tuple(lower_layers)
        self._recorded: dict[str, torch.Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Segment":
        for name in self._lower_layers:
            layer = find_layer(self._module, name)
            self._handles.append(layer.register_forward_hook(self._record(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._recorded.clear()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Run the network up to the target.

        Parameters
        ----------
        images
            (b, 3, H, W), normalized.

        Returns
        -------
        tuple
            The output of the target, and of each lower layer by name.

        Raises
        ------
        UserError
            If the pass does not reach the target or one of the lower layers before it.
        """
        self._recorded = {}
        # registered last, so that it comes after whatever else is done to the target's output
        reached = find_layer(self._module, self._target).register_forward_hook(self._reach)
        try:
            self._module(images)
        except _Reached:
            recorded, self._recorded = self._recorded, {}
            output = recorded.pop(self._target)
            missing = [name for name in self._lower_layers if name not in recorded]
            if missing:
                raise UserError(f"layer {missing[0]!r} does not lie below {self._target!r}: it runs later") from None
            return output, recorded
        finally:
            reached.remove()
        raise UserError(f"layer {self._target!r} is not used in a forward pass")

    def _record(self, name: str):  # type: ignore[no-untyped-def]
        def hook(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            if not isinstance(output, torch.Tensor):
                raise UserError(f"lower layer {name!r} gives a {type(output).__name__}, not one tensor")
            kept = output.clone() if output.requires_grad else output.detach().clone().requires_grad_()
            self._recorded[name] = kept
            return kept.clone()

        return hook

    def _reach(self, _: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        self._recorded[self._target] = output.clone() if isinstance(output, torch.Tensor) else output
        raise _Reached


def block_before(module: torch.nn.Module, layer: str) -> str:
    """Name the block before a layer: the sibling before it, or that of its parent.

    Raises
    ------
    UserError
        If there is none.
    """
    find_layer(module, layer)
    path = layer.split(".")
    while path:
        parent = module.get_submodule(".".join(path[:-1]))
        siblings = [name for name, _ in parent.named_children()]
        position = siblings.index(path[-1])
        if position > 0:
            return ".".join([*path[:-1], siblings[position - 1]])
        path = path[:-1]
    raise UserError(f"there is no block before layer {layer!r}; name its lower_layers")
