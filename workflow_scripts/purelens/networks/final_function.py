"""Watch the activation function in which a layer ends, and keep what it is given (the pre-activation)."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

ACTIVATION_FUNCTIONS = frozenset({
    "relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "relu6", "hardtanh", "hardswish",
    "hardsigmoid", "sigmoid", "tanh", "softplus", "threshold",
})  # fmt: skip
"""Names of functions, without the underscore of those that overwrite what they are given."""

BOUNDED = frozenset({"relu6", "hardtanh", "hardsigmoid", "sigmoid", "tanh"})
"""Functions with a ceiling: hundreds of images tie there, and the gradient is zero."""


class FinalFunction(TorchFunctionMode):
    """Remember the last activation function that ran while this mode is active.

    Attributes
    ----------
    name
        Its name; empty where none ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self._given: torch.Tensor | None = None
        self._result: Any = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        if name not in ACTIVATION_FUNCTIONS or not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **(kwargs or {}))
        given = args[0].clone()  # before it is overwritten
        self._result = func(*args, **(kwargs or {}))
        self.name, self._given = name, given
        return self._result

    def given_for(self, output: torch.Tensor, functions: frozenset[str]) -> torch.Tensor | None:
        """Return what that function was given for an output, as a copy in the graph; None where another made the output.

        Parameters
        ----------
        output
            The output of a layer.
        functions
            Names of the functions that count.
        """
        return self._given if output is self._result and self.name in functions else None
