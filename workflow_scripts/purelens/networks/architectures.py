"""Build networks of libraries and of files of the user's, with random weights."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.eval_frame import OptimizedModule
from torch.nn.modules.lazy import LazyModuleMixin

from purelens.config.inputs import SCHEMES
from purelens.errors import UserError, listed, nearest
from purelens.networks.imports import timm, torchvision, with_torchvision

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
        return call_factory(architecture, torchvision().models.get_model, {"name": name, "weights": None, **options})
    if library == "timm":
        check_timm_name(name, f"architecture {architecture!r}")
        return call_factory(architecture, timm().create_model, {"model_name": name, "pretrained": False, **options})
    if library.endswith(".py"):
        factory = load_factory(library, name)
        with _importing_from(Path(library).resolve().parent):
            return call_factory(architecture, lambda **given: with_torchvision(lambda: factory(**given)), dict(options))
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
    except (Exception, SystemExit) as error:  # the user's own code may raise anything, and parse arguments
        raise UserError(f"architecture: {path} cannot be imported: {type(error).__name__}: {error}") from None
    factory = getattr(module, name, None)
    if not callable(factory):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"architecture: {path} has no function {name!r}{nearest(name, functions)}")
    return factory


def call_factory(architecture: str, factory: Any, options: Mapping[str, Any]) -> torch.nn.Module:
    """Build a network.

    Parameters
    ----------
    architecture
        Its name, for messages.
    factory, options
        What builds it, and its keyword arguments.

    Returns
    -------
    torch.nn.Module
        The network without wrappers, frozen, in evaluation mode.

    Raises
    ------
    UserError
        If the factory fails, or gives no network that can be looked into.
    """
    try:
        module = factory(**options)
    except (Exception, SystemExit) as error:  # any library's or user's constructor
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
