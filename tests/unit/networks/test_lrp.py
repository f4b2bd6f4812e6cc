"""LRP beside zennit with its canonizers, conservation, and networks that it refuses."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers import randomize
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.imports import torchvision
from purelens.networks.lrp import Propagation, RelevanceSums, plan_rules
from purelens.networks.subnetwork import Segment


def ours(network: nn.Module, layer: str, images: torch.Tensor, seed: Callable[[torch.Tensor], torch.Tensor]):  # type: ignore[no-untyped-def]
    images = images.clone().requires_grad_()
    with Segment(network, layer) as segment:
        plan = plan_rules(network, lambda: segment.forward(images), layer)
        with Propagation(network, plan):
            with RelevanceSums():
                output, _ = segment.forward(images)
            (relevance,) = torch.autograd.grad(output, images, seed(output.detach()), retain_graph=True)
            (again,) = torch.autograd.grad(output, images, seed(output.detach()))
    torch.testing.assert_close(relevance, again)
    return relevance


def zennits(network: nn.Module, layer: str, images: torch.Tensor, seed, canonizers, composite=None) -> torch.Tensor:  # type: ignore[no-untyped-def]
    from zennit.composites import EpsilonPlusFlat

    relevances: list[torch.Tensor] = []
    images = images.clone().requires_grad_()
    with (composite or EpsilonPlusFlat(canonizers)).context(network):
        handle = network.get_submodule(layer).register_forward_hook(lambda _, __, out: relevances.append(out))
        network(images)
        handle.remove()
        (relevance,) = torch.autograd.grad(relevances[0], images, seed(relevances[0].detach()))
    return relevance


def one_unit(output: torch.Tensor) -> torch.Tensor:
    seed = torch.zeros_like(output)
    best = output.flatten(1).argmax(dim=1)
    for row, place in enumerate(best.tolist()):
        seed[row].view(-1)[place] = output[row].flatten()[place]
    return seed


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_resnets_are_those_of_zennits_canonizer(name: str) -> None:
    torchvision()
    from zennit.torchvision import ResNetCanonizer

    torch.manual_seed(0)
    network = randomize(build_architecture(f"torchvision:{name}", {}))
    images = torch.randn(2, 3, 64, 64)
    relevances = ours(network, "layer3", images, one_unit)
    expected = zennits(network, "layer3", images, one_unit, [ResNetCanonizer()])
    torch.testing.assert_close(relevances, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)


def test_a_timm_resnet_is_that_of_torchvision() -> None:
    torch.manual_seed(0)
    ours_of = {}
    reference = randomize(build_architecture("torchvision:resnet34", {}))
    for library in ("torchvision", "timm"):
        network = build_architecture(f"{library}:resnet34", {})
        network.load_state_dict(reference.state_dict())
        ours_of[library] = ours(network, "layer3", torch.ones(1, 3, 64, 64).cumsum(2) / 64, one_unit)
    torch.testing.assert_close(ours_of["timm"], ours_of["torchvision"])


def test_squeezenet_without_canonizers_is_zennits() -> None:
    torch.manual_seed(0)
    network = build_architecture("torchvision:squeezenet1_1", {})
    images = torch.randn(2, 3, 64, 64)
    relevances = ours(network, "features.12", images, one_unit)
    torch.testing.assert_close(relevances, zennits(network, "features.12", images, one_unit, []), rtol=1e-3, atol=1e-6)


def test_negative_inputs_use_both_branches_of_z_plus() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 4, 3), nn.ReLU()).requires_grad_(False)
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(ours(network, "3", images, one_unit), zennits(network, "3", images, one_unit, []))


def test_relevance_is_conserved_without_biases() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 3, bias=False),
    ).requires_grad_(False)  # fmt: skip
    images = torch.randn(4, 3, 12, 12)
    relevance = ours(network, "6", images, lambda output: output)
    torch.testing.assert_close(relevance.sum(dim=(1, 2, 3)), network(images).sum(dim=1), rtol=1e-3, atol=1e-4)


class PreActivation(nn.Module):
    """A BatchNorm after a sum must not be merged into the convolution before the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.conv3 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x).relu()
        x = self.conv2(x) + x
        return self.conv3(functional.relu(self.bn(x)))


def test_batch_norms_are_merged_where_they_follow_a_convolution_only() -> None:
    network, image = randomize(PreActivation()), torch.randn(1, 3, 8, 8)
    plan = plan_rules(network, lambda: network(image.clone().requires_grad_()), "conv3")
    assert plan.merges == []
    resnet = build_architecture("torchvision:resnet18", {})
    plan = plan_rules(resnet, lambda: resnet(image.repeat(1, 1, 4, 4).requires_grad_()), "layer4")
    assert len(plan.merges) == 20
    assert ("layer2.0.downsample.0", "layer2.0.downsample.1") in plan.merges


class TwoUses(nn.Module):
    """A convolution that feeds a BatchNorm and something else must stay as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn, self.conv2 = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        return self.conv2(functional.relu(self.bn(x))) + x


def test_a_convolution_with_two_uses_is_not_merged() -> None:
    network, image = randomize(TwoUses()), torch.randn(1, 3, 8, 8)
    plan = plan_rules(network, lambda: network(image.clone().requires_grad_()), "all")
    assert plan.merges == []
    with Propagation(network, plan), RelevanceSums():
        propaassigned = network(image.clone().requires_grad_())
    torch.testing.assert_close(propaassigned.detach(), network(image))


@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: torch.add(a, b, alpha=0.5),
        lambda a, b: torch.add(a, other=b),
        lambda a, b: a.add(b, alpha=2),
        lambda a, b: a + b.mean(dim=1, keepdim=True),
    ],
)
def test_sums_of_other_kinds_are_refused(add: Callable[..., torch.Tensor]) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return add(x, x.relu())

    network = Sum().requires_grad_(False)
    with pytest.raises(UserError, match="no rule for .*function (add|mean)"):
        plan_rules(network, lambda: network(torch.randn(1, 3, 4, 4).requires_grad_()), "all")


@pytest.mark.parametrize("layer", ["layer3"])
def test_the_network_is_as_before_afterwards(layer: str) -> None:
    network = randomize(build_architecture("torchvision:resnet18", {}))
    image = torch.randn(1, 3, 64, 64)
    before, state = network(image), {k: v.clone() for k, v in network.state_dict().items()}
    ours(network, layer, image, one_unit)
    torch.testing.assert_close(network(image), before)
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("architecture", "layer", "unknown"),
    [
        ("timm:vit_tiny_patch16_224", "blocks.2.mlp.act", "LayerNorm|layer_norm|scaled_dot"),
        ("timm:seresnet50", "layer3", "function mul|function __mul__|SE"),
        ("torchvision:convnext_tiny", "features.3", "layer_norm|LayerNorm"),
    ],
)
def test_what_has_no_rule_is_named(architecture: str, layer: str, unknown: str) -> None:
    network = build_architecture(architecture, {})
    images = torch.zeros(1, 3, 224, 224).requires_grad_()
    with (
        Segment(network, layer) as segment,
        pytest.raises(UserError, match=f"no rule .*({unknown}).*attribution: gradient"),
    ):
        plan_rules(network, lambda: segment.forward(images), layer)


def test_relevance_passes_a_batch_norm_and_the_zeros_of_a_relu_before_it() -> None:
    from zennit.composites import LAYER_MAP_BASE, SpecialFirstLayerMapComposite
    from zennit.rules import Flat, Pass, ZPlus
    from zennit.types import BatchNorm, Convolution

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU()]
    network = randomize(nn.Sequential(*layers).eval().requires_grad_(False))
    images = torch.randn(2, 3, 12, 12)
    rules = [*LAYER_MAP_BASE, (BatchNorm, Pass()), (Convolution, ZPlus())]
    composite = SpecialFirstLayerMapComposite(rules, [(Convolution, Flat())])
    expected = zennits(network, "4", images, one_unit, [], composite)
    torch.testing.assert_close(ours(network, "4", images, one_unit), expected)


def test_batch_norms_with_an_activation_inside_are_merged() -> None:
    torch.manual_seed(0)
    network = randomize(build_architecture("timm:regnetx_002", {}))
    assert torch.isfinite(ours(network, "s2.b1", torch.randn(1, 3, 64, 64), one_unit)).all()


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Hardswish, nn.ReLU])
def test_activations_in_place_pass_relevance_as_others_do(activation: Callable[..., nn.Module]) -> None:
    def network(in_place: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), activation(inplace=in_place), nn.Conv2d(6, 5, 3), activation(inplace=in_place)
        )

    images = torch.randn(2, 3, 9, 9)
    apart, in_place = (ours(network(flag), "3", images, one_unit) for flag in (False, True))
    assert apart.abs().max() > 0
    torch.testing.assert_close(in_place, apart)
