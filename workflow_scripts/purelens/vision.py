"""Import torchvision and the libraries on top of it, also beside a torch that was built without CUDA.

torchvision from the package index has its compiled part linked against CUDA. Beside a CPU-only torch that part does not
load, and torchvision then fails to register operators that its Python code names. Declaring them lets everything that is
written in Python work.
"""

import importlib
from functools import cache
from types import ModuleType

import torch

_DECLARED: list[torch.library.Library] = []


@cache
def torchvision() -> ModuleType:
    """Import torchvision."""
    try:
        module = importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        module = importlib.import_module("torchvision")
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
