"""Build networks and load their weights, without unpickling code."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.modules.lazy import LazyModuleMixin
from torch.overrides import TorchFunctionMode

from purelens.config.inputs import SCHEMES
from purelens.errors import UserError, listed, nearest
from purelens.networks.baked import bake_weights
from purelens.networks.checkpoints import incompatible_keys, load_weights, read_checkpoint
from purelens.networks.imports import timm, torchvision, with_torchvision

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CPU = torch.device("cpu")

OPAQUE_WORDS: dict[Any, tuple[str, str]] = {
    torch.jit.ScriptModule: (
        "scripted or traced, and its layers cannot be looked into (hooks never fire)",
        "return the module that it was made from",
    ),
    LazyModuleMixin: (
        "lazy: its parameters have no shapes yet",
        "run it once in the factory, or give the numbers of its inputs",
    ),
}
OPAQUE = tuple(OPAQUE_WORDS)

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
    library, name = library_of(architecture)
    if library == "torchvision":
        known = torchvision().models.list_models()
        if name not in known:
            raise UserError(f"architecture {architecture!r}: torchvision has no model {name!r}{nearest(name, known)}")
        return _call(architecture, torchvision().models.get_model, {"name": name, "weights": None, **options})
    if library == "timm":
        check_timm_name(name, f"architecture {architecture!r}")
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
    return _plain(module, architecture).eval().requires_grad_(False)


def _plain(module: torch.nn.Module, architecture: str) -> torch.nn.Module:
    """Unwrap what torch.compile and DataParallel wrap; refuse modules that nothing can look into."""
    while isinstance(module, OptimizedModule | torch.nn.DataParallel):
        module = module._orig_mod if isinstance(module, OptimizedModule) else module.module
    for name, child in list(module.named_modules()):
        if isinstance(child, OptimizedModule):
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, child._orig_mod)
    where = {name: child for name, child in module.named_modules() if isinstance(child, OPAQUE)}
    for name, child in where.items():
        kind, remedy = next((words for cls, words in OPAQUE_WORDS.items() if isinstance(child, cls)))
        place = f"module {name!r}" if name else "the network"
        raise UserError(f"architecture {architecture!r}: {place} is {kind}; {remedy}")
    return module


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
    library, name = library_of(architecture)
    published_mean: tuple[float, ...] = IMAGENET_MEAN
    published_std: tuple[float, ...] = IMAGENET_STD
    if weights == "published":
        module, published_mean, published_std = _published(library, name, options)
    else:
        module = build_architecture(architecture, options)
        if weights != "random":
            module = _loaded(module, weights, architecture, options)
    return Network(module.eval().requires_grad_(False), tuple(mean or published_mean), tuple(std or published_std))


def library_of(architecture: str) -> tuple[str, str]:
    """Split an architecture into its library, or the Python file, and the name in it, which may have colons too."""
    for library in ("torchvision", "timm"):
        if architecture.startswith(f"{library}:"):
            return library, architecture.removeprefix(f"{library}:")
    library, _, name = architecture.rpartition(":")
    return library, name


def check_timm_name(name: str, what: str) -> None:
    """Check that timm has a model; models of a hub or folder are told by timm itself.

    Raises
    ------
    UserError
        With the nearest valid name, after ``what``.
    """
    known = timm().list_models()
    if not name.startswith(SCHEMES) and name.split(".")[0] not in known:
        close = nearest(name, known)
        raise UserError(f"{what}: timm has no model {name!r}{close or '; e.g. ' + listed(known, 3)}")


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
            adapted = _call(architecture, timm().create_model, {**given, **_checkpoint_of_timm(weights)})
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
    with _NothingDrawn():
        module = build_architecture(card["architecture"], card["options"])
    load_weights(module, weights_file, card["architecture"])
    module = bake_weights(module)
    return Network(module, tuple(card["mean"]), tuple(card["std"])).to(device)
