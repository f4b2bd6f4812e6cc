"""Propagate relevance through any network of convolutions, linear layers, activations, pooling and sums (LRP).

The rules are zennit's (composite EpsilonPlusFlat): flat in the first layer, z+ in convolutions, epsilon in linear layers;
Bach et al. 2015, Montavon et al. 2019. What is canonized is found by watching a forward pass instead of by recognizing
classes of blocks: a BatchNorm whose input is the output of a convolution is merged into it, and a sum of two activations
shares relevance by what each contributed. An operation without a rule is an error: its gradient would pass for its relevance.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from zennit.canonizers import NamedMergeBatchNorm
from zennit.core import BasicHook, mod_params, stabilize
from zennit.rules import Epsilon, Flat, Norm, ZPlus
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from purelens.errors import UserError, listed
from purelens.networks.graph import tensors_in

NO_RULE_NEEDED = (
    torch.nn.Identity, torch.nn.Flatten, torch.nn.Unflatten, torch.nn.MaxPool1d, torch.nn.MaxPool2d,
    torch.nn.AdaptiveMaxPool2d, torch.nn.Dropout, torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.ChannelShuffle,
    torch.nn.PixelShuffle, torch.nn.ZeroPad2d,
)  # fmt: skip
"""Modules whose gradient is their relevance propagation: they select or move values."""

# ``torch.sum`` and ``mean`` are no sums of two activations: they are reported as functions without a rule
SUMS = {torch.add, torch.Tensor.add, torch.Tensor.add_, torch.Tensor.__add__, torch.Tensor.__radd__}

MOVING_FUNCTIONS = frozenset({
    # activations that act on each value alone and are zero or the identity
    "relu", "relu_", "dropout", "identity",
    # values keep their size and get another place or shape
    "cat", "concat", "concatenate", "stack", "flatten", "reshape", "view", "pad", "getitem", "__getitem__", "permute",
    "transpose", "movedim", "squeeze", "unsqueeze", "narrow", "chunk", "split", "unbind", "expand", "channel_shuffle",
    "pixel_shuffle",
    # the largest value is passed on, the others have no part in it
    "max_pool2d", "max_pool2d_with_indices", "_max_pool2d",
    # bookkeeping of tensors
    "__get__", "contiguous", "clone", "to", "type", "detach", "requires_grad_", "alias",
})  # fmt: skip
"""Names of functions that select or move values, as ``NO_RULE_NEEDED`` among modules; ReLU is one."""

STABILIZER = 1e-6
"""What zennit's ``stabilize`` adds to a denominator."""


class _Sum(torch.autograd.Function):
    """Add two activations; in the backward pass, R_i = x_i / (x_1 + x_2) R (zennit's ``Norm`` rule).

    An autograd function and not a module: sums are plain ``+`` in the code of most networks, which no hook sees.
    """

    @staticmethod
    def forward(ctx: Any, first: torch.Tensor, second: torch.Tensor, in_place: bool) -> torch.Tensor:
        # ``x += y`` overwrites the first summand, whose value the backward pass needs
        ctx.save_for_backward(first.clone() if in_place else first, second)
        ctx.shares = None
        if in_place:
            # without this autograd would go on with the history of the tensor before it was overwritten
            ctx.mark_dirty(first)
            return first.add_(second)
        return first + second

    @staticmethod
    def backward(ctx: Any, *relevance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        # the shares depend on the images alone, and many backward passes follow one forward pass
        if ctx.shares is None:
            first, second = ctx.saved_tensors
            inverse = stabilize(first + second).reciprocal_()
            ctx.shares = (first * inverse, second * inverse)
        first_share, second_share = ctx.shares
        return relevance[0] * first_share, relevance[0] * second_share, None


def _is_sum_of_activations(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bool:
    # tensors without a gradient are parameters or constants, and an ``alpha`` would scale one summand
    return (
        function in SUMS
        and not kwargs
        and len(args) == 2
        and all(isinstance(arg, torch.Tensor) and arg.requires_grad for arg in args[:2])
        and args[0].shape == args[1].shape
    )


class RelevanceSums(TorchFunctionMode):
    """Replace sums of two activations, while active, by sums that propagate relevance instead of gradients."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if _is_sum_of_activations(func, args, kwargs):
            # ``x += y`` reaches this function as ``add_``; code behind it may hold on to x, so it must stay in place
            return _Sum.apply(args[0], args[1], func is torch.Tensor.add_)
        return func(*args, **(kwargs or {}))


class ZPlusOneBranch(BasicHook):
    """Apply zennit's z+ rule without its second branch: R_i = x_i sum_j w_ij+ / z_j R_j, z_j = sum_i x_i w_ij+.

    The second branch is for negative inputs with negative weights. It is zero behind a ReLU, where it costs half the time.
    `_Propagate` divides by z once for all backward passes.
    """

    def __init__(self) -> None:
        both = ZPlus()
        super().__init__(
            input_modifiers=[lambda input: input],
            param_modifiers=both.param_modifiers[:1],
            output_modifiers=both.output_modifiers[:1],
        )


class _Propagate(torch.autograd.Function):
    """Give a module's output a backward pass that propagates relevance by a zennit rule.

    zennit computes its branches in each backward pass. Here they are computed in the first one after a forward pass and kept
    for the others, because every neuron whose reference the image is needs one.
    """

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, output: torch.Tensor, module: torch.nn.Module, rule: BasicHook | None
    ) -> torch.Tensor:
        ctx.save_for_backward(input)
        ctx.module, ctx.rule, ctx.branches = module, rule, None
        return output.clone()  # an in-place operation behind the module would change what was recorded

    @staticmethod
    def backward(ctx: Any, *relevance: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        if ctx.rule is None:  # activations, and BatchNorms that were merged: relevance passes as it is
            return relevance[0], None, None, None
        if ctx.branches is None:
            ctx.branches = branches_of(ctx.rule, ctx.module, ctx.saved_tensors[0].detach())
            if isinstance(ctx.rule, ZPlusOneBranch):
                ctx.inverse = _stabilized_positive(ctx.branches[1][0].detach()).reciprocal_()
        inputs, outputs = ctx.branches
        if isinstance(ctx.rule, ZPlusOneBranch):
            # the graph is retained: the next neuron of the same image goes through it again
            (gradient,) = torch.autograd.grad(outputs, inputs, relevance[0] * ctx.inverse, retain_graph=True)
            return gradient.mul_(inputs[0].detach()), None, None, None
        # zennit's way: R_j / z_j goes in as the gradient of each branch, and the rule adds up input x gradient
        seeds = ctx.rule.gradient_mapper(relevance[0], outputs)
        gradients = torch.autograd.grad(outputs, inputs, seeds, retain_graph=True)
        with torch.no_grad():
            return ctx.rule.reducer(inputs, gradients), None, None, None


def _stabilized_positive(output: torch.Tensor) -> torch.Tensor:
    """Stabilize denominators that are sums of values above zero, as zennit's ``stabilize`` does; rounding is cut off."""
    # convolutions by Winograd or FFT give -1e-8 where the sum is zero: with its sign the quotient would explode
    return output.clamp(min=0).add_(STABILIZER)


def branches_of(
    rule: BasicHook, module: torch.nn.Module, input: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Run a module once for each branch of a rule, with the inputs and parameters that the rule modifies.

    Parameters
    ----------
    rule
        A rule of zennit.
    module
        The module.
    input
        Its input, detached.

    Returns
    -------
    inputs, outputs : list
        Modified inputs, and outputs with a graph that ends at them.
    """
    inputs, outputs = [], []
    for of_input, of_param, of_output in zip(
        rule.input_modifiers, rule.param_modifiers, rule.output_modifiers, strict=True
    ):
        # a leaf of its own: the graph of a branch ends at the module and does not reach the network below it
        modified_input = of_input(input).requires_grad_()
        params = {"param_keys": rule.param_keys, "require_params": rule.require_params}
        with mod_params(module, of_param, **params) as modified, torch.enable_grad():
            outputs.append(of_output(modified.forward(modified_input)))
        inputs.append(modified_input)
    return inputs, outputs


@dataclass
class Plan:
    """How relevance is propagated through a network.

    Attributes
    ----------
    rules
        Rule of each module; None: relevance passes as it is.
    merges
        Linear modules, each with the BatchNorm that is merged into it.
    unknown
        Modules and functions without a rule.
    known
        Modules of a known kind that ran, those without a rule of their own included.
    """

    rules: dict[str, BasicHook | None] = field(default_factory=dict)
    merges: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


class _Watcher(TorchFunctionMode):
    """Watch one forward pass: which modules run, which outputs feed which, and which functions run outside known modules."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.plan = Plan()
        self._inside: list[str] = []
        self._producer: dict[int, tuple[str, torch.Tensor]] = {}
        self._uses: Counter[int] = Counter()
        self._seen_linear = False
        self._handles = []
        for name, layer in module.named_modules():
            if isinstance(layer, (Linear, BatchNorm, AvgPool, Activation, *NO_RULE_NEEDED)):
                self._handles.append(layer.register_forward_pre_hook(self._enter(name)))
                self._handles.append(layer.register_forward_hook(self._leave(name)))

    def close(self) -> None:
        """Remove the hooks, and drop merges of outputs that something else uses too: it would see the merged output."""
        for handle in self._handles:
            handle.remove()
        used_once = {name for key, (name, _) in self._producer.items() if self._uses[key] == 1}
        self.plan.merges = [merge for merge in self.plan.merges if merge[0] in used_once]

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            if not self._inside:  # a module inside a known one reads what belongs to that one
                self._uses.update(id(value) for value in inputs)
            self._inside.append(name)
            self.plan.known.append(name)
            if isinstance(layer, Linear) and name in self.plan.rules:
                self.plan.unknown.append(f"{name} ({type(layer).__name__}, used more than once)")

        return hook

    def _leave(self, name: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self._inside.pop()
            self._choose(name, layer, inputs)
            if isinstance(layer, Linear) and isinstance(output, torch.Tensor):
                # the tensor is kept with its id, or another could get the same id while the pass goes on
                self._producer[id(output)] = (name, output)
                self._uses[id(output)] = 0  # ids are used again: whatever had this one before is gone

        return hook

    def _choose(self, name: str, layer: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        # zennit counts it among the activations, through which relevance would pass as it is
        if isinstance(layer, torch.nn.MultiheadAttention):
            self.plan.unknown.append(f"{name} (MultiheadAttention)")
        elif isinstance(layer, BatchNorm):
            linear, _ = self._producer.get(id(inputs[0]), (None, None))
            if linear is not None:
                self.plan.merges.append((linear, name))
            self.plan.rules[name] = None
        elif isinstance(layer, Linear):
            # flat only where pixels enter: their signs mean nothing after normalization (composite EpsilonPlusFlat)
            later = ZPlus() if isinstance(layer, Convolution) else Epsilon()
            self.plan.rules[name] = later if self._seen_linear else Flat()
            self._seen_linear = True
        elif isinstance(layer, Activation):
            self.plan.rules[name] = None
        elif isinstance(layer, AvgPool):
            self.plan.rules[name] = Norm()  # each value gets its share of the mean

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # inside a known module its rule covers whatever it calls
        if self._inside or not _is_activation(result):
            return result
        operands = [value for value in tensors_in([*args, *(kwargs or {}).values()]) if value.requires_grad]
        self._uses.update(id(value) for value in operands)
        if not _is_sum_of_activations(func, args, kwargs):
            name = getattr(func, "__name__", str(func))
            # x + constant: the constant keeps its share like a bias
            adds_constant = func in SUMS and len(operands) == 1
            if name not in MOVING_FUNCTIONS and not adds_constant:
                self.plan.unknown.append(f"function {name}")
        return result


def _is_activation(result: Any) -> bool:
    return isinstance(result, torch.Tensor) and result.requires_grad and result.grad_fn is not None


def plan_rules(module: torch.nn.Module, forward: Callable[[], object], layer: str) -> Plan:
    """Choose a rule for everything that a forward pass runs.

    Parameters
    ----------
    module
        The network.
    forward
        Runs it up to the layer, on images that require a gradient.
    layer
        The layer's name, for the message.

    Returns
    -------
    Plan
        The rules, and the BatchNorms to merge.

    Raises
    ------
    UserError
        If the pass runs operations without a rule.
    """
    watcher = _Watcher(module)
    try:
        with watcher:
            forward()
    finally:
        watcher.close()
    if watcher.plan.unknown:
        unknown = listed(dict.fromkeys(watcher.plan.unknown))
        raise UserError(
            f"LRP has no rule for what lies below layer {layer!r}: {unknown}; "
            f"set attribution: gradient for this model to locate patches by input x gradient"
        )
    return watcher.plan


class Propagation:
    """Make the backward passes of a network propagate relevance, within a ``with`` block.

    Forward passes in the block must run with ``RelevanceSums`` active.

    Parameters
    ----------
    module
        The network.
    plan
        From `plan_rules`.
    """

    def __init__(self, module: torch.nn.Module, plan: Plan) -> None:
        self._module = module
        self._plan = plan
        self._merged: list[NamedMergeBatchNorm] = []
        self._inputs: dict[torch.nn.Module, torch.Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "Propagation":
        # merged for the time of the block only: the weights of the network are those of its file before and after
        names = [([linear], batch_norm) for linear, batch_norm in self._plan.merges]
        self._merged = NamedMergeBatchNorm(names).apply(self._module)
        for name, rule in self._plan.rules.items():
            layer = self._module.get_submodule(name)
            self._handles.append(layer.register_forward_pre_hook(self._cut_off))
            self._handles.append(layer.register_forward_hook(self._hook(rule)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for merge in self._merged:
            merge.remove()
        self._handles.clear()
        self._merged = []

    def _cut_off(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Detach a module from its input: the gradient of a module that works in place would come before the rule."""
        self._inputs[module] = inputs[0]
        return (inputs[0].detach(), *inputs[1:])

    def _hook(self, rule: BasicHook | None) -> Callable[..., torch.Tensor]:
        def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            chosen = rule
            # checked for each batch: no network promises that its convolutions see no negative value
            if isinstance(rule, ZPlus) and not (inputs[0] < 0).any():
                chosen = ZPlusOneBranch()
            # the input before `_cut_off`, through which relevance goes on to the modules below
            input = self._inputs.pop(module)
            return _Propagate.apply(input, output.detach(), module, chosen)

        return hook
