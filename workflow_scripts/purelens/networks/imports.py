"""Import torchvision and the libraries on top of it, also beside a torch that was built without CUDA.

torchvision from the package index has its compiled part linked against CUDA. Beside a CPU-only torch that part does not
load, and torchvision then fails to register operators that its Python code names. Declaring them lets everything that is
written in Python work.
"""

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import TypeVar

import torch

T = TypeVar("T")

_DECLARED: list[torch.library.Library] = []


def with_torchvision(action: Callable[[], T]) -> T:
    """Run an action that may import torchvision; where its compiled part does not load, declare its operators and retry."""
    try:
        return action()
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        return action()


@cache
def torchvision() -> ModuleType:
    """Import torchvision."""
    module = with_torchvision(lambda: importlib.import_module("torchvision"))
    importlib.import_module("torchvision.models")
    return module


@cache
def timm() -> ModuleType:
    """Import timm."""
    torchvision()
    return importlib.import_module("timm")


@cache
def open_clip() -> ModuleType:
    """Import open_clip."""
    torchvision()
    return importlib.import_module("open_clip")


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)
