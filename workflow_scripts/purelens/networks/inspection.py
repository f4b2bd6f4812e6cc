"""Inspect a network without weights or images: its layers, their order, and the shapes of their outputs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NoReturn

import torch

from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.axes import check_independent
from purelens.networks.baked import bake_weights
from purelens.networks.graph import keeps_apart, node_of
from purelens.networks.lrp import plan_rules
from purelens.networks.lrp_checks import check_rules
from purelens.networks.stages import Call, blocks_around, residual_blocks, stage_of, watch
from purelens.networks.subnetwork import LayerView, Segment, block_before, find_layer

DIFFERENCE = 1e-3
"""Largest relative difference of the outputs for an image in two batches: rounding of 32 bits, summed over a deep network."""


class Inspection:
    """A network on torch's meta device, where tensors have shapes and no numbers.

    Parameters
    ----------
    architecture, options
        See `purelens.networks.architectures.build_architecture`.
    size
        Side of its input in pixels.

    Raises
    ------
    UserError
        If it cannot be built, or does not take images of this size.
    """

    def __init__(self, architecture: str, options: Mapping[str, Any], size: int) -> None:
        self._built_from = (architecture, options)
        self._real: torch.nn.Module | None = None
        try:
            with torch.device("meta"):
                self._module = bake_weights(build_architecture(architecture, options))
                self._image = torch.zeros(1, 3, size, size)
                self._calls = self._count_calls()
        except Exception:  # some networks compute with values when they are built or run: they need a real device
            self._module = bake_weights(build_architecture(architecture, options))
            self._image = torch.zeros(1, 3, size, size)
            try:
                self._calls = self._count_calls()
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                message = f"architecture {architecture!r} fails on an image of {size}x{size} pixels: {reason}"
                raise UserError(message) from None

    def _count_calls(self) -> Counter[str]:
        calls: Counter[str] = Counter()
        handles = [
            layer.register_forward_hook(lambda *_, name=name: calls.update([name]))
            for name, layer in self._module.named_modules()
            if name
        ]
        with torch.no_grad():
            self._module(self._image)
        for handle in handles:
            handle.remove()
        return calls

    def check_independent(self, layer: str, lower_layers: Sequence[str]) -> None:
        """Check that two images give the same outputs together and each alone, with random weights.

        Parameters
        ----------
        layer, lower_layers
            The layers whose outputs are compared.

        Raises
        ------
        UserError
            If they differ.
        """
        module, images = self._with_numbers()
        with Segment(module, layer, lower_layers) as segment, torch.no_grad():
            together, *alone = (self._outputs(segment, images[chosen]) for chosen in ([0, 1], [0], [1]))
        for name, output in together.items():
            check_independent(f"layer {name!r}", output, torch.cat([each[name] for each in alone]), DIFFERENCE)

    def _with_numbers(self) -> tuple[torch.nn.Module, torch.Tensor]:
        """Build the network with random weights, and draw two images."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if self._real is None:
                self._real = bake_weights(build_architecture(*self._built_from))
            return self._real, torch.randn(2, *self._image.shape[1:])

    @staticmethod
    def _outputs(segment: Segment, images: torch.Tensor) -> dict[str, torch.Tensor]:
        output, lower = segment.forward(images)
        return {segment.target: output, **lower}

    def block_before(self, view: LayerView) -> str:
        """Name the nearest block before a layer that can be its lower layer (see `purelens.networks.subnetwork.block_before`).

        Raises
        ------
        UserError
            If there is none.
        """
        self.check_layer(view, [])
        candidate = view.name
        while True:
            try:
                candidate = block_before(self._module, candidate)
            except UserError:
                raise UserError(
                    f"no block before layer {view.name!r} can be its lower layer; name its lower_layers"
                ) from None
            with suppress(UserError):
                self.check_layer(view, [candidate])
                return candidate

    def check_layer(self, view: LayerView, lower_layers: Sequence[str]) -> dict[str, int]:
        """Check that a layer can be studied.

        Parameters
        ----------
        view
            The layer, and where its neurons are.
        lower_layers
            Layers that it is attributed to.

        Returns
        -------
        dict
            Number of neurons of the layer and of each lower layer, by name.

        Raises
        ------
        UserError
            If it or a lower layer is missing, is not used exactly once, or does not lie below.
        """
        layer = view.name
        for name in (layer, *lower_layers):
            find_layer(self._module, name)
            if self._calls[name] != 1:
                raise UserError(
                    f"layer {name!r} is used {self._calls[name]} times in a forward pass; choose a layer used once"
                )
        if layer in lower_layers:
            raise UserError(f"layer {layer!r} cannot be its own lower layer")
        with Segment(self._module, layer, lower_layers) as segment, torch.enable_grad():
            output, lower = segment.forward(self._image)
            for name, activation in lower.items():
                if not self._feeds(activation, output):
                    self._refuse_lower_layer(name, layer)
            return segment.resolve(view, self._image.shape[-1])[1]

    def _refuse_lower_layer(self, lower_layer: str, layer: str) -> NoReturn:
        """Say why no gradient arrives: nothing is fed, or gradients are switched off on the way."""
        module, images = self._with_numbers()
        outputs: list[torch.Tensor] = []
        for sign in (1, -1):
            flip = find_layer(module, lower_layer).register_forward_hook(lambda *call, s=sign: _scaled(call[-1], s))
            with Segment(module, layer) as segment, torch.no_grad():
                outputs.append(segment.forward(images)[0])
            flip.remove()
        if torch.equal(*outputs):
            raise UserError(f"lower layer {lower_layer!r} does not lie below {layer!r}: it does not feed it")
        raise UserError(
            f"lower layer {lower_layer!r} feeds {layer!r}, but gradients are switched off between them (torch.no_grad, detach, "
            "or a checkpoint with use_reentrant=True); let the network's code compute them"
        )

    @staticmethod
    def _feeds(activation: torch.Tensor, output: torch.Tensor) -> bool:
        if not output.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(output.sum(), activation, retain_graph=True, allow_unused=True)
        return gradient is not None

    def stage(self, view: LayerView) -> tuple[list[str], list[str]]:
        """Name the lower layers of the stage that a layer ends (see `purelens.networks.stages.stage_of`).

        Returns
        -------
        lower_layers, inside : list
            All of them, and those of them that lie inside a block.

        Raises
        ------
        UserError
            If there are none.
        """
        calls = self._watched
        blocks = blocks_around(calls, view.name)
        outputs, inside = stage_of(calls, blocks, self._sizes(view, [block.name for block in blocks.lower]))
        usable = self._sizes(view, [*inside, *outputs])
        lower_layers = [name for name in (*outputs, *inside) if name in usable]
        if not lower_layers:
            raise UserError(f"lower_layers of layer {view.name!r}: there is none in its stage; name its lower_layers")
        return lower_layers, [name for name in inside if name in usable]

    def _sizes(self, view: LayerView, lower_layers: Sequence[str]) -> dict[str, int]:
        """Count the neurons of a layer and of those of some layers that can be its lower layers."""
        try:
            return self.check_layer(view, lower_layers)
        except UserError:  # one at a time, which takes longer
            sizes = self.check_layer(view, [])
            for name in lower_layers:
                with suppress(UserError):  # used twice, or it cannot be told where its neurons are
                    sizes |= self.check_layer(view, [name])
            return sizes

    def inside_blocks(self, lower_layers: Sequence[str]) -> list[str]:
        """Select the layers that lie inside a residual block."""
        blocks = [block.name for block in residual_blocks(self._watched)]
        return [name for name in lower_layers if any(name.startswith(f"{block}.") for block in blocks)]

    @cached_property
    def _watched(self) -> list[Call]:
        image = self._image.clone().requires_grad_()
        with torch.enable_grad():
            return watch(self._module, lambda: self._module(image))

    def check_mixes(self, layer: str, lower_layers: Sequence[str]) -> None:
        """Check that the neurons of a layer get something from lower layers besides their own values.

        Raises
        ------
        UserError
            If each comes from one neuron of a lower layer alone, by shortcuts and activation functions.
        """
        with Segment(self._module, layer, lower_layers) as segment, torch.enable_grad():
            output, lower = segment.forward(self._image)
        for name, activation in lower.items():
            if keeps_apart(node_of(output), node_of(activation)):
                raise UserError(
                    f"lower layer {name!r}: each neuron of {layer!r} comes from one of its neurons alone, so there is no "
                    "circuit between them; name a lower one, or set relevances.skip_channels: keep"
                )

    def check_rules(self, layer: str) -> None:
        """Check that LRP has a rule for everything below a layer, and that the rules hold.

        Raises
        ------
        UserError
            Naming the modules and functions without a rule.
        """
        image = self._image.clone().requires_grad_()
        with Segment(self._module, layer) as segment, torch.enable_grad():
            plan_rules(self._module, lambda: segment.forward(image), layer)
        module, images = self._with_numbers()
        images.requires_grad_()
        with Segment(module, layer) as segment, torch.enable_grad():
            plan = plan_rules(module, lambda: segment.forward(images), layer)
            check_rules(module, plan, lambda: segment.forward(images), layer)


def _scaled(output: Any, factor: float) -> Any:
    """Scale an output, or the first of several."""
    return (output[0] * factor, *output[1:]) if isinstance(output, tuple) else output * factor
