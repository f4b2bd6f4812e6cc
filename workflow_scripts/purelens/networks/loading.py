"""Build networks with their weights, and load them again, without unpickling code."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from purelens.config.inputs import SCHEMES
from purelens.errors import UserError, listed
from purelens.networks.architectures import build_architecture, call_factory, library_of
from purelens.networks.baked import bake_weights
from purelens.networks.checkpoints import incompatible_keys, load_weights, read_checkpoint
from purelens.networks.imports import timm, torchvision
from purelens.networks.same_outputs import check_same_when_rebuilt

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CPU = torch.device("cpu")

PUBLISHED_OPTIONS: dict[str, dict[str, Any]] = {
    "torchvision:googlenet": {"transform_input": True, "aux_logits": False, "init_weights": False},
    "torchvision:inception_v3": {"transform_input": True, "init_weights": False},
}
"""What torchvision sets besides the weights when it loads the published ones."""

RANDOM_INITIALIZERS = {
    torch.Tensor.uniform_,
    torch.Tensor.normal_,
    torch.nn.init.uniform_,
    torch.nn.init.normal_,
    torch.nn.init.trunc_normal_,
    torch.nn.init.kaiming_uniform_,
    torch.nn.init.kaiming_normal_,
    torch.nn.init.xavier_uniform_,
    torch.nn.init.xavier_normal_,
}


@dataclass(frozen=True)
class Network:
    """A frozen network with the normalization of its input.

    Attributes
    ----------
    module
        The network.
    mean, std
        Mean and standard deviation of the input per color, for pixels between 0 and 1.
    device
        Where the network is.
    """

    module: torch.nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device = CPU

    def to(self, device: torch.device) -> "Network":
        """Move the network to a device."""
        self.module.to(device)
        return replace(self, device=device)

    def prepare(self, pixels: np.ndarray) -> torch.Tensor:
        """Normalize images (b, H, W, 3) uint8 for the network: (b, 3, H, W) float, on its device."""
        return self.normalize(torch.from_numpy(pixels).to(self.device))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalize images (b, H, W, 3) uint8, on whatever device they are: (b, 3, H, W) float."""
        images = pixels.permute(0, 3, 1, 2).float().div(255)
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return ((images - mean) / std).contiguous()


def build_network(
    architecture: str,
    options: Mapping[str, Any],
    weights: str,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    seed: int = 0,
) -> Network:
    """Build a network and load its weights.

    Parameters
    ----------
    architecture, options
        As in `build_architecture`.
    weights
        ``published`` (downloaded by the library), ``random``, or a ``.safetensors`` / ``.pth`` file.
    mean, std
        Input normalization; None: that of the published weights and of timm's models, else ImageNet's.
    seed
        Of random weights.

    Returns
    -------
    Network
        Frozen, on the CPU.

    Raises
    ------
    UserError
        If the weights cannot be had or do not fit.
    """
    torch.manual_seed(seed)
    library, name = library_of(architecture)
    published_mean: tuple[float, ...] = IMAGENET_MEAN
    published_std: tuple[float, ...] = IMAGENET_STD
    if weights == "published":
        module, published_mean, published_std = _published(library, name, options)
    else:
        module = build_architecture(architecture, options)
        if weights != "random":
            _check_said(architecture, options)
            module = _loaded(module, weights, architecture, options)
        if library == "timm":
            told: Any = module.pretrained_cfg
            published_mean, published_std = tuple(told["mean"]), tuple(told["std"])
    return Network(module.eval().requires_grad_(False), tuple(mean or published_mean), tuple(std or published_std))


def _check_said(architecture: str, options: Mapping[str, Any]) -> None:
    """Refuse checkpoints of networks that have a normalization inside, or have not: no file tells which."""
    if "transform_input" in PUBLISHED_OPTIONS.get(architecture, {}) and "transform_input" not in options:
        raise UserError(
            f"architecture {architecture!r} with a file of weights: say in options whether transform_input is true (weights "
            "that torchvision publishes) or false (trained without it)"
        )


def rebuilding_options(architecture: str, options: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """Collect the options with which a network is built again from its stored weights.

    Parameters
    ----------
    architecture, options, weights
        See `build_network`.

    Returns
    -------
    dict
        The user's options, and those that a library sets for published weights.
    """
    published = PUBLISHED_OPTIONS.get(architecture, {}) if weights == "published" else {}
    return {**published, **options}


def _loaded(module: torch.nn.Module, weights: str, architecture: str, options: Mapping[str, Any]) -> torch.nn.Module:
    """Load a checkpoint; where it does not fit as it is, as its library loads its own: heads and positions are adapted."""
    library, name = library_of(architecture)
    try:
        load_weights(module, weights, architecture)
        return module
    except UserError:
        if library != "timm" or name.startswith(SCHEMES):
            raise
        with incompatible_keys() as unknown:
            given = {"model_name": name, "pretrained": True, **options}
            adapted = call_factory(architecture, timm().create_model, {**given, **_checkpoint_of_timm(weights)})
        if unknown:
            raise
        return adapted


def _checkpoint_of_timm(weights: str) -> dict[str, Any]:
    return {"pretrained_cfg_overlay": {"state_dict": read_checkpoint(weights)}}


def _published(
    library: str, name: str, options: Mapping[str, Any]
) -> tuple[torch.nn.Module, tuple[float, ...], tuple[float, ...]]:
    """Build a network with the weights that torchvision or timm publish, and their normalization."""
    build_architecture(f"{library}:{name}", options)
    try:
        if library == "torchvision":
            weights = torchvision().models.get_model_weights(name).DEFAULT
            transforms = weights.transforms()
            module = torchvision().models.get_model(name, weights=weights, **options)
            return module, tuple(transforms.mean), tuple(transforms.std)
        if library == "timm":
            with incompatible_keys() as unknown:
                module = timm().create_model(name, pretrained=True, **options)
            if unknown and name.startswith(SCHEMES):
                raise ValueError(f"its weights are not those of the model: {listed(unknown, 5)}")
            return module, tuple(module.pretrained_cfg["mean"]), tuple(module.pretrained_cfg["std"])
    except Exception as error:  # network, hub and option errors of two libraries
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"published weights of {library}:{name} cannot be had ({type(error).__name__}: {reason}); "
            f"give weights: path/to/file.safetensors"
        ) from None
    raise UserError(f"weights: nothing is published for {library}:{name}; give a file, or 'random'")


class _NothingDrawn(TorchFunctionMode):
    """Skip the random initialization of parameters: weights are loaded into all of them next."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        filled = args[0] if args else kwargs.get("tensor")
        if func in RANDOM_INITIALIZERS and isinstance(filled, torch.nn.Parameter):
            return filled
        return func(*args, **kwargs)


def load_network(weights_file: str, card_file: str, device: torch.device = CPU) -> Network:
    """Load a network as the rule ``model`` stored it.

    Parameters
    ----------
    weights_file, card_file
        The artifacts of the rule.
    device
        Where it will compute.

    Returns
    -------
    Network
        Frozen, on the device.
    """
    card = json.loads(Path(card_file).read_text(encoding="utf-8"))
    module = _without_numbers(card["architecture"], card["options"])
    load_weights(module, weights_file, card["architecture"])
    module = bake_weights(module)
    return Network(module, tuple(card["mean"]), tuple(card["std"])).to(device)


def _without_numbers(architecture: str, options: Mapping[str, Any]) -> torch.nn.Module:
    with _NothingDrawn():
        return build_architecture(architecture, options)


def check_rebuilt(network: Network, architecture: str, options: Mapping[str, Any], size: int) -> None:
    """Check that a network is known by its architecture, its options and its weights: later stages build it from these.

    Parameters
    ----------
    network
        The network, on the CPU.
    architecture, options
        See `build_architecture`.
    size
        Side of its input in pixels.

    Raises
    ------
    UserError
        If the rebuilt network gives other outputs: numbers were drawn when it was built that are not in its ``state_dict``, or
        its library sets more than the weights when it loads published ones.
    """
    rebuilt = _without_numbers(architecture, options)
    unfit = rebuilt.load_state_dict(network.module.state_dict(), strict=False)
    if unfit.missing_keys or unfit.unexpected_keys:
        names = listed([*unfit.missing_keys, *unfit.unexpected_keys], 5)
        raise UserError(f"architecture {architecture!r} has other weights when it is built again: {names}")
    check_same_when_rebuilt(network.module, rebuilt, size, architecture)
