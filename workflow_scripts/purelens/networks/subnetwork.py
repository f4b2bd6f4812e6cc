"""Run a network up to a layer, and differentiate between two layers without entering what lies below or above."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import torch

from purelens.errors import UserError, nearest

T = TypeVar("T")


class _Reached(BaseException):
    """End a forward pass at the target. Not an ``Exception``: no ``except`` clause of a network may swallow it."""


def find_layer(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """Find a layer by its name in ``named_modules()``.

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


@dataclass(frozen=True)
class LayerView:
    """A layer, and where the neurons are in its output.

    Attributes
    ----------
    name
        Its name in ``named_modules()``.
    channels
        ``first`` (after the batch), ``last``, or ``auto``: last for three dimensions (tokens), else first. It matters for
        outputs of three and four dimensions.
    """

    name: str
    channels: str = "auto"

    def maps(self, output: torch.Tensor) -> torch.Tensor:
        """Bring an output of the layer to (b, C, P): images, neurons, positions.

        Convolutions give (b, c, h, w), linear layers (b, c), transformers (b, tokens, c).

        Raises
        ------
        UserError
            If the output is not one tensor of two to four dimensions.
        """
        if not isinstance(output, torch.Tensor) or not 2 <= output.ndim <= 4:
            kind = f"{output.ndim} dimensions" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
            raise UserError(f"layer {self.name!r} gives {kind}; a layer to study gives one tensor of 2 to 4 dimensions")
        if output.ndim == 2:
            return output.unsqueeze(-1)
        return (output.movedim(-1, 1) if self._last(output) else output).flatten(2)

    def unmap(self, output: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Bring maps (b, C, P) back to the shape of an output of the layer: the inverse of `maps`."""
        if output.ndim == 2:
            return maps.squeeze(-1)
        if not self._last(output):
            return maps.reshape(output.shape)
        return maps.reshape(output.movedim(-1, 1).shape).movedim(1, -1)

    def _last(self, output: torch.Tensor) -> bool:
        return self.channels == "last" or (self.channels == "auto" and output.ndim == 3)

    def of(self, name: str) -> "LayerView":
        """Look at another layer of the same network in the same way."""
        return LayerView(name, self.channels)


class Segment:
    """The part of a network between lower layers and a target layer. Use it in a ``with`` block.

    A forward pass ends at the target. If there are lower layers, their outputs are the leaves of the graph: a backward pass
    from the target never enters what lies below the lowest of them. Outputs are copied when they are recorded, so that a
    later in-place operation does not change them.

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
        output : torch.Tensor
            Output of the target.
        lower : dict
            Output of each lower layer, by name.

        Raises
        ------
        UserError
            If the pass does not reach the target, or reaches it before one of the lower layers.
        """
        self._recorded = {}
        # registered at each pass, so that this hook comes after all others on the target
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

    def n_neurons(self, view: LayerView, size: int) -> dict[str, int]:
        """Find how many neurons the target and each lower layer have, without computing anything.

        Parameters
        ----------
        view
            The target, and where the neurons are.
        size
            Side of the images, in pixels.
        """
        output, lower = on_meta(self._module, self.forward, size)
        outputs: Mapping[str, torch.Tensor] = {self._target: output, **lower}
        return {name: view.of(name).maps(tensor).shape[1] for name, tensor in outputs.items()}

    def _record(self, name: str) -> Callable[..., torch.Tensor]:
        def hook(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            if not isinstance(output, torch.Tensor):
                raise UserError(f"lower layer {name!r} gives a {type(output).__name__}, not one tensor")
            kept = output.clone() if output.requires_grad else output.detach().clone().requires_grad_()
            self._recorded[name] = kept
            # the network goes on with a copy: an in-place ReLU behind the layer would overwrite the leaf
            return kept.clone()

        return hook

    def _reach(self, _: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        self._recorded[self._target] = output.clone() if isinstance(output, torch.Tensor) else output
        raise _Reached


class _Function(torch.nn.Module):
    """A function that uses a network, as a module whose parameters can be exchanged."""

    def __init__(self, module: torch.nn.Module, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, images: torch.Tensor) -> Any:
        """Call the function."""
        return self._function(images)


def on_meta(module: torch.nn.Module, function: Callable[[torch.Tensor], T], size: int) -> T:
    """Call a function of a network on torch's meta device, where tensors have shapes and no numbers.

    Parameters
    ----------
    module
        The network.
    function
        Maps images (1, 3, size, size) to tensors, by means of the network.
    size
        Side of the image, in pixels.

    Returns
    -------
    Any
        What the function returns; only shapes and types of its tensors mean anything.
    """
    wrapped = _Function(module, function)
    tensors = [*wrapped.named_parameters(), *wrapped.named_buffers()]
    state = {name: tensor.to("meta") for name, tensor in tensors}
    image = torch.empty(1, 3, size, size, device="meta")
    with torch.no_grad():
        try:
            return torch.func.functional_call(wrapped, state, (image,))
        except UserError:
            raise
        except Exception:  # some networks compute with values; they are run on an empty image
            return function(torch.zeros_like(image, device=tensors[0][1].device if tensors else "cpu"))


def block_before(module: torch.nn.Module, layer: str) -> str:
    """Name the block before a layer: the sibling before it, or the sibling before its parent.

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
