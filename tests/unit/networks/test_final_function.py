"""What the activation function at the end of a layer is given."""

import pytest
import torch
from torch import nn

from purelens.networks.final_function import ACTIVATION_FUNCTIONS, BOUNDED
from purelens.networks.subnetwork import Segment


def network(last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 3), last), nn.Conv2d(5, 2, 3)).requires_grad_(False)


@pytest.mark.parametrize(
    ("last", "bounded"),
    [(nn.ReLU6(), True), (nn.ReLU6(inplace=True), True), (nn.Sigmoid(), True), (nn.ReLU(inplace=True), False),
     (nn.GELU(), False)],
)  # fmt: skip
def test_it_takes_the_place_of_the_output_where_it_is_asked_for(last: nn.Module, bounded: bool) -> None:
    module, image = network(last), 9 * torch.randn(2, 3, 8, 8)
    before = module.get_submodule("0.0")(image)
    after = last(before.clone())
    for functions in (ACTIVATION_FUNCTIONS, BOUNDED, frozenset[str]()):
        with Segment(module, "0", before=functions) as segment:
            output, _ = segment.forward(image)
            taken = functions is ACTIVATION_FUNCTIONS or (functions is BOUNDED and bounded)
            torch.testing.assert_close(output, before if taken else after)
            torch.testing.assert_close(segment.final, after)
            assert bool(segment.function) == taken


def test_a_layer_that_ends_in_no_function_is_its_own() -> None:
    module, image = network(nn.ReLU()), torch.randn(1, 3, 8, 8)
    with Segment(module, "1", before=ACTIVATION_FUNCTIONS) as segment:
        output, _ = segment.forward(image)
    torch.testing.assert_close(output, module(image))
    assert segment.function == ""
