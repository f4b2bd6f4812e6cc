"""Batches are halved when memory ends, and devices that do not exist are refused."""

import pytest
import torch

from purelens.errors import UserError
from purelens.networks.batching import choose_device, in_batches


def test_memory_that_ends_for_one_image_is_an_error() -> None:
    def fail(start: int, stop: int, size: int) -> None:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(fail, 8, torch.device("cpu"), 32))


def test_devices_that_are_not_there() -> None:
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:99", "gpu"):
        with pytest.raises(UserError, match=f"device '{name}' is not available"):
            choose_device(name)
