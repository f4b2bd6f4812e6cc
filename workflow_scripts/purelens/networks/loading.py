"""Build networks and load their weights, without unpickling code."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from purelens.errors import UserError, listed, nearest
from purelens.networks.baked import bake_weights
from purelens.networks.imports import timm, torchvision, with_torchvision

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
CHECKPOINT_WRAPPERS = ("state_dict", "model_state_dict", "model")

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

State = dict[str, torch.Tensor]


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


def build_architecture(architecture: str, options: Mapping[str, Any]) -> torch.nn.Module:
    """Build a network with random weights, in evaluation mode.

    Parameters
    ----------
    architecture
        ``torchvision:NAME``, ``timm:NAME`` or ``path/to/file.py:factory``.
    options
        Keyword arguments.

    Raises
    ------
    UserError
        If there is no such architecture, or it does not take these options.
    """
    library, _, name = architecture.rpartition(":")
    if library == "torchvision":
        known = torchvision().models.list_models()
        if name not in known:
            raise UserError(f"architecture {architecture!r}: torchvision has no model {name!r}{nearest(name, known)}")
        return _call(architecture, torchvision().models.get_model, {"name": name, "weights": None, **options})
    if library == "timm":
        known = timm().list_models()
        if name.split(".")[0] not in known:
            raise UserError(f"architecture {architecture!r}: timm has no model {name!r}{nearest(name, known)}")
        return _call(architecture, timm().create_model, {"model_name": name, "pretrained": False, **options})
    if library.endswith(".py"):
        factory = load_factory(library, name)
        with _importing_from(Path(library).resolve().parent):
            return _call(architecture, lambda **given: with_torchvision(lambda: factory(**given)), dict(options))
    raise UserError(
        f"architecture {architecture!r}: expected 'torchvision:NAME', 'timm:NAME' or 'path/to/file.py:factory'"
    )


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Import neighbors of a user's file before everything of the same name: this workflow has a ``model.py`` too.

    What was imported is forgotten at the end, because another user's file may have other neighbors of the same names. The
    folder stays at the end of the path, for imports when the network runs.
    """
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not name.startswith("purelens_user_") and Path(file).resolve().is_relative_to(folder):
                del sys.modules[name]


def load_factory(path: str, name: str) -> Any:
    """Import a function from a Python file of the user's.

    Raises
    ------
    UserError
        If there is no such file or function, or the file cannot be run.
    """
    if not Path(path).is_file():
        raise UserError(f"architecture: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"purelens_user_{Path(path).stem}", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    assert loader is not None
    sys.modules[spec.name] = module
    try:
        with _importing_from(Path(path).resolve().parent):
            with_torchvision(lambda: loader.exec_module(module))
    except Exception as error:  # the user's own code may raise anything
        raise UserError(f"architecture: {path} cannot be imported: {type(error).__name__}: {error}") from None
    factory = getattr(module, name, None)
    if not callable(factory):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"architecture: {path} has no function {name!r}{nearest(name, functions)}")
    return factory


def _call(architecture: str, factory: Any, options: dict[str, Any]) -> torch.nn.Module:
    try:
        module = factory(**options)
    except Exception as error:  # any library's or user's constructor
        reason = " ".join(str(error).split())
        raise UserError(f"architecture {architecture!r} cannot be built: {type(error).__name__}: {reason}") from None
    if not isinstance(module, torch.nn.Module):
        raise UserError(f"architecture {architecture!r} gives a {type(module).__name__}, not a torch.nn.Module")
    return module.eval().requires_grad_(False)


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
        Input normalization; None: the published weights' own, else ImageNet's.
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
    library, _, name = architecture.rpartition(":")
    published_mean: tuple[float, ...] = IMAGENET_MEAN
    published_std: tuple[float, ...] = IMAGENET_STD
    if weights == "published":
        module, published_mean, published_std = _published(library, name, options)
    else:
        module = build_architecture(architecture, options)
        if weights != "random":
            load_weights(module, weights, architecture)
    return Network(module.eval().requires_grad_(False), tuple(mean or published_mean), tuple(std or published_std))


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
            module = timm().create_model(name, pretrained=True, **options)
            return module, tuple(module.pretrained_cfg["mean"]), tuple(module.pretrained_cfg["std"])
    except Exception as error:  # network, hub and option errors of two libraries
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"published weights of {library}:{name} cannot be had ({type(error).__name__}: {reason}); "
            f"give weights: path/to/file.safetensors"
        ) from None
    raise UserError(f"weights: nothing is published for {library}:{name}; give a file, or 'random'")


def load_weights(module: torch.nn.Module, path: str, architecture: str) -> None:
    """Load a checkpoint into a network. Every key must fit.

    Parameters
    ----------
    module
        The network.
    path
        The checkpoint (see `read_checkpoint`).
    architecture
        Its name, for the message.

    Raises
    ------
    UserError
        With the keys that are missing, unexpected or of another shape.
    """
    state, expected = read_checkpoint(path), module.state_dict()
    if not any(key in expected for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}  # as DataParallel saves it
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    problems = [
        f"{title}: {listed(keys, 5)}"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise UserError(f"weights {path} are not of architecture {architecture!r}: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)


def read_checkpoint(path: str) -> State:
    """Read a plain state dict, without running what a pickle may hold.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or a file of ``torch.save``.

    Raises
    ------
    UserError
        If the file is missing, damaged, or more than tensors by name.
    """
    if not Path(path).is_file():
        raise UserError(f"weights: there is no file {path}")
    try:
        values = load_file(path) if path.endswith(".safetensors") else torch.load(path, "cpu", weights_only=True)
    except UnpicklingError:
        if not _looks_like_a_checkpoint(path):
            raise UserError(f"weights: {path} is no checkpoint (its first bytes are of something else)") from None
        raise UserError(
            f"weights: {path} is a pickle with more than tensors in it and is not opened, as that could run any code; "
            f"save the network's state_dict() instead"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, KeyError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"weights: cannot read {path}: {reason}") from None
    for wrapper in CHECKPOINT_WRAPPERS:
        if isinstance(values, dict) and isinstance(values.get(wrapper), dict):
            values = values[wrapper]
    if not isinstance(values, dict) or not all(isinstance(v, torch.Tensor) for v in values.values()):
        raise UserError(f"weights: {path} is not a plain state dict (tensors by name)")
    return {str(key): value for key, value in values.items()}


def _looks_like_a_checkpoint(path: str) -> bool:
    """Tell whether a file starts as a zip archive or a pickle does."""
    with Path(path).open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


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
    with _NothingDrawn():
        module = build_architecture(card["architecture"], card["options"])
    load_weights(module, weights_file, card["architecture"])
    module = bake_weights(module)
    return Network(module, tuple(card["mean"]), tuple(card["std"])).to(device)
