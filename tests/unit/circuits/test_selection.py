"""Neurons are selected by numbers and ranges."""

import pytest

from purelens.circuits.selection import neuron_ids
from purelens.errors import UserError


def test_neurons_are_numbers_and_ranges() -> None:
    assert neuron_ids("all", 3, "l") == [0, 1, 2]
    assert neuron_ids([7, "2-4", "3"], 8, "l") == [2, 3, 4, 7]
    mistakes: list[list[int | str]] = [["4-2"], [8], ["x"], [-1], ["0-8"]]
    for wrong in mistakes:
        with pytest.raises(UserError, match="layer l"):
            neuron_ids(wrong, 8, "l")
