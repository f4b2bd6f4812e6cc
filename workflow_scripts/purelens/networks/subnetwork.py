"""Run a network up to a layer, and differentiate between two layers without entering what lies below or above."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import torch

from purelens.errors import UserError, nearest
from purelens.networks.axes import LAST, axis_of, by_positions, check_axis, check_images_first, kind_of
from purelens.networks.final_function import FinalFunction

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
        ``first`` (after the batch), ``last``, or ``auto``, which `Segment.resolve` decides. It matters for outputs of three
        and four dimensions.
    lower_channels
        The same for other layers, by name; ``auto`` for those left out.
    """

    name: str
    channels: str = "auto"
    lower_channels: Mapping[str, str] = field(default_factory=dict)

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
        if self.channels != "auto":
            return self.channels == LAST
        # not resolved: as of most layers; three dimensions are tokens
        return output.ndim == 3 or by_positions(output.shape, None) == LAST

    def of(self, name: str) -> "LayerView":
        """Look at a lower layer."""
        return LayerView(name, self.lower_channels.get(name, "auto"))


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
    before
        Activation functions (see `purelens.networks.final_function`): where the target ends in one of them, what it is given
        takes the place of the target's output.

    Attributes
    ----------
    target
        Name of the target.
    final
        Output of the target in the last forward pass, whatever took its place; detached.
    function
        Name of the activation function whose input took its place; empty where none did.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        target: str,
        lower_layers: Sequence[str] = (),
        before: frozenset[str] = frozenset(),
    ) -> None:
        self._module = module
        self.target = target
        self._lower_layers = tuple(lower_layers)
        self._before = before
        self.final = torch.empty(0)
        self.function = ""
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
        self.final = torch.empty(0)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Run the network up to the target.

        Parameters
        ----------
        images
            (b, 3, H, W), normalized.

        Returns
        -------
        output : torch.Tensor
            Output of the target, or what its activation function is given.
        lower : dict
            Output of each lower layer, by name.

        Raises
        ------
        UserError
            If the pass does not reach the target, or reaches it before one of the lower layers.
        """
        self._recorded = {}
        # registered at each pass, so that this hook comes after all others on the target
        watched = FinalFunction() if self._before else None
        hook = partial(self._reach, watched)
        reached = find_layer(self._module, self.target).register_forward_hook(hook)
        try:
            with watched or nullcontext():
                self._module(images)
        except _Reached:
            recorded, self._recorded = self._recorded, {}
            output = recorded.pop(self.target)
            missing = [name for name in self._lower_layers if name not in recorded]
            if missing:
                raise UserError(f"layer {missing[0]!r} does not lie below {self.target!r}: it runs later") from None
            return output, recorded
        finally:
            reached.remove()
        raise UserError(f"layer {self.target!r} is not used in a forward pass")

    def resolve(self, view: LayerView, size: int) -> tuple[LayerView, dict[str, int]]:
        """Find where the neurons of the target and of each lower layer are, and how many, without computing anything.

        Parameters
        ----------
        view
            The target, and what is known of where its neurons are.
        size
            Side of the images, in pixels.

        Returns
        -------
        view : LayerView
            Without ``auto``.
        n_neurons : dict
            Number of neurons of each layer, by name.

        Raises
        ------
        UserError
            If the first axis of an output is not that of the images, or it cannot be told where the neurons are.
        """
        two, three = self._outputs(size, 2), self._outputs(size, 3)
        for name, output in two.items():
            LayerView(name).maps(output)  # one tensor of two to four dimensions
        check_images_first({name: (output.shape, three[name].shape) for name, output in two.items()})
        larger: dict[str, torch.Tensor] = {}
        with suppress(Exception):  # transformers take images of one size
            larger = self._outputs(2 * size, 2)
        given = {**view.lower_channels, self.target: view.channels}
        channels = {}
        for name, output in two.items():
            said = given.get(name, "auto")
            if said != "auto":
                check_axis(name, find_layer(self._module, name), output.shape, said)
            channels[name] = self._axis(name, output, larger.get(name), size) if said == "auto" else said
        resolved = LayerView(view.name, channels.pop(self.target), channels)
        views = {name: resolved if name == view.name else resolved.of(name) for name in two}
        return resolved, {name: views[name].maps(output).shape[1] for name, output in two.items()}

    def _outputs(self, size: int, n_images: int) -> dict[str, torch.Tensor]:
        """Outputs of the target and the lower layers, on the meta device."""
        output, lower = on_meta(self._module, self.forward, size, n_images)
        return {self.target: output, **lower}

    def _axis(self, name: str, output: torch.Tensor, larger: torch.Tensor | None, size: int) -> str:
        layer = find_layer(self._module, name)
        kinds = partial(self._kinds, output.shape, size)
        return axis_of(name, layer, output.shape, None if larger is None else larger.shape, kinds)

    def _kinds(self, shape: torch.Size, size: int) -> set[str]:
        """Where modules of known kind have their neurons whose output has a shape."""
        kinds: set[str] = set()

        def hook(part: torch.nn.Module, _: object, output: object) -> None:
            kind = kind_of(part)
            if kind is not None and isinstance(output, torch.Tensor) and output.shape == shape:
                kinds.add(kind)

        handles = [part.register_forward_hook(hook) for part in self._module.modules()]
        try:
            self._outputs(size, shape[0])
        finally:
            for handle in handles:
                handle.remove()
        return kinds

    def _record(self, name: str) -> Callable[..., torch.Tensor]:
        def hook(_: torch.nn.Module, __: object, output: torch.Tensor) -> torch.Tensor:
            if not isinstance(output, torch.Tensor):
                raise UserError(f"lower layer {name!r} gives a {type(output).__name__}, not one tensor")
            kept = output.clone() if output.requires_grad else output.detach().clone().requires_grad_()
            self._recorded[name] = kept
            # the network goes on with a copy: an in-place ReLU behind the layer would overwrite the leaf
            return kept.clone()

        return hook

    def _reach(self, watched: FinalFunction | None, _: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        if isinstance(output, torch.Tensor):
            self.function = ""
            # copied: a later in-place operation would change it
            kept = output.clone()
            self.final = kept.detach()
            given = watched.given_for(output, self._before) if watched else None
            if watched and given is not None:
                self.function, kept = watched.name, given
            self._recorded[self.target] = kept
        else:
            self._recorded[self.target] = output
        raise _Reached


class _Function(torch.nn.Module):
    """A function that uses a network, as a module whose parameters can be exchanged."""

    def __init__(self, module: torch.nn.Module, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, images: torch.Tensor) -> Any:
        """Call the function."""
        return self._function(images)


def on_meta(module: torch.nn.Module, function: Callable[[torch.Tensor], T], size: int, n_images: int = 1) -> T:
    """Call a function of a network on torch's meta device, where tensors have shapes and no numbers.

    Parameters
    ----------
    module
        The network.
    function
        Maps images (n_images, 3, size, size) to tensors, by means of the network.
    size, n_images
        Side of the images in pixels, and how many there are.

    Returns
    -------
    Any
        What the function returns; only shapes and types of its tensors mean anything.
    """
    wrapped = _Function(module, function)
    tensors = [*wrapped.named_parameters(), *wrapped.named_buffers()]
    state = {name: tensor.to("meta") for name, tensor in tensors}
    image = torch.empty(n_images, 3, size, size, device="meta")
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
