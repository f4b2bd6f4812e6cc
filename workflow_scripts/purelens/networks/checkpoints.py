"""Read checkpoints without unpickling code, and load them into networks."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from purelens.errors import UserError, listed
from purelens.storage.files import replace_when_whole

CHECKPOINT_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training programs keep the weights."""

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and modules around a network put before the names of its weights."""

State = dict[str, torch.Tensor]


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
    expected = module.state_dict()
    state = _without_prefixes(read_checkpoint(path), expected)
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    kinds = [
        f"{key} {state[key].dtype}"
        for key in expected
        if key in state and expected[key].is_floating_point() and not state[key].is_floating_point()
    ]
    problems = [
        f"{title}: {listed(keys, 5)}"
        for title, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
            ("no real numbers", kinds),
        )
        if keys
    ]
    if problems:
        raise UserError(f"weights {path} are not of architecture {architecture!r}: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)


def _without_prefixes(state: State, expected: Collection[str]) -> State:
    """Remove what wrappers put before all names, as long as no name is known."""
    while not any(key in expected for key in state):
        prefix = next((one for one in WRAPPER_PREFIXES if state and all(key.startswith(one) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def write_weights(path: str | Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write weights as safetensors, atomically.

    Raises
    ------
    OSError
        If the disk is full.
    """
    with replace_when_whole(path) as temporary:
        try:
            save_file({name: value.cpu().contiguous().clone() for name, value in state.items()}, temporary)
        except SafetensorError as error:  # it tells the system's errors in its own words
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


@contextmanager
def incompatible_keys() -> Iterator[list[str]]:
    """Collect the names of weights that a library finds no values or no place for; it may go on without a word."""
    unknown: list[str] = []
    load = torch.nn.Module.load_state_dict

    def noted(module: torch.nn.Module, state: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        result = load(module, state, strict, assign)
        names = [*result.missing_keys, *result.unexpected_keys]
        unknown.extend(name for name in names if not name.endswith("num_batches_tracked"))
        return result

    torch.nn.Module.load_state_dict = noted  # type: ignore[assignment, method-assign]
    try:
        yield unknown
    finally:
        torch.nn.Module.load_state_dict = load  # type: ignore[method-assign]


def read_checkpoint(path: str) -> State:
    """Read a plain state dict, without running what a pickle may hold.

    Parameters
    ----------
    path
        A file of safetensors or of ``torch.save``, told apart by their first bytes: caches of downloads have no suffixes.

    Raises
    ------
    UserError
        If the file is missing, damaged, or more than tensors by name.
    """
    if not Path(path).is_file():
        raise UserError(f"weights: there is no file {path}")
    try:
        values = load_file(path) if _is_safetensors(path) else torch.load(path, "cpu", weights_only=True)
    except UnpicklingError:
        if not _looks_like_a_checkpoint(path):
            raise UserError(f"weights: {path} is no checkpoint (its first bytes are of something else)") from None
        raise UserError(
            f"weights: {path} is a pickle with more than tensors in it and is not opened, as that could run any code; "
            f"save the network's state_dict() instead"
        ) from None
    except Exception as error:  # damaged files lead the readers of three formats to anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"weights: cannot read {path}: {reason}") from None
    for wrapper in CHECKPOINT_WRAPPERS:
        if isinstance(values, dict) and isinstance(values.get(wrapper), dict):
            values = values[wrapper]
    if not isinstance(values, dict) or not all(isinstance(v, torch.Tensor) for v in values.values()):
        raise UserError(f"weights: {path} is not a plain state dict (tensors by name)")
    return {str(key): value for key, value in values.items()}


def _is_safetensors(path: str) -> bool:
    """Tell whether a file is of safetensors: by its suffix, or the header's length and first letter."""
    with Path(path).open("rb") as file:
        start = file.read(9)
    return path.endswith(".safetensors") or (len(start) == 9 and start[6:] == b"\0\0{")


def _looks_like_a_checkpoint(path: str) -> bool:
    """Tell whether a file starts as a zip archive or a pickle does."""
    with Path(path).open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
