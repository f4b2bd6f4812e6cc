"""Units of a layer, attributed in whole batches, beside their definition on the whole network in 64 bits."""

import numpy as np
import torch

from helpers import load_cifar_resnet
from purelens.circuits.attribution import KEEP, LEAVE_OUT, open_attribution
from purelens.networks.final_function import ACTIVATION_FUNCTIONS
from purelens.networks.subnetwork import LayerView, Segment

LAYER, LOWER = "layer3", ["layer3.0", "layer2", "layer3.1.bn1"]


def direction(weights: dict[int, float]) -> torch.Tensor:
    w = torch.zeros(64)
    for neuron, weight in weights.items():
        w[neuron] = weight
    return w


def by_definition(
    module: torch.nn.Module, image: torch.Tensor, w: torch.Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Gradient times activation of 1/2 sum_p u(p)^2, u = relu(w a) with a before the last ReLU; and weighted activations."""
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        return dict(module.named_modules())[name].register_forward_hook(lambda *call: kept.update({name: call[-1]}))

    handles = [keep(name) for name in (*LOWER, "layer3.1.bn2", LAYER)]
    with torch.enable_grad():
        module(image.requires_grad_())
        before = kept["layer3.1.bn2"] + kept["layer3.0"]
        u = torch.einsum("bchw,c->bhw", before, w.to(before.dtype)).clamp(min=0)
        gradients = torch.autograd.grad(0.5 * u.square().sum(), [kept[name] for name in LOWER])
    for handle in handles:
        handle.remove()
    relevance = {
        name: (kept[name] * gradient).sum(dim=(2, 3))[0].detach().numpy()
        for name, gradient in zip(LOWER, gradients, strict=True)
    }
    weighted = (kept[LAYER] * u[:, None]).sum(dim=(2, 3)) / u.sum()
    return relevance, weighted[0].detach().numpy()


def test_a_planted_unit_is_attributed_by_its_definition() -> None:
    module = load_cifar_resnet(0, depth=14, num_classes=10)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    units = [{5: 0.7, 40: 1.3}, {7: 1.0}, {20: 0.4, 33: 2.0, 60: 0.2}]
    directions = torch.stack([direction(unit) for unit in units])
    for skip in (KEEP, LEAVE_OUT):
        with Segment(module, LAYER, LOWER, ACTIVATION_FUNCTIONS) as segment:
            view, _ = segment.resolve(LayerView(LAYER), 32)
            attribution = open_attribution(segment, view, images[:1], "none", skip)
            attribution.forward(images)
            attributed = attribution.attribute(np.array([0, 1, 2]), directions)
            weighted = attribution.weighted_activations(np.array([0, 1, 2]), directions).numpy()
        double = load_cifar_resnet(0, depth=14, num_classes=10).double()
        for row, unit in enumerate(units):
            expected, expected_weighted = by_definition(double, images[row : row + 1].double(), directions[row])
            np.testing.assert_allclose(weighted[row], expected_weighted, rtol=1e-4, atol=1e-6)
            for lower in LOWER:
                joined = {"layer3.0": list(unit), "layer2": [n - 16 for n in unit if 16 <= n < 48]}.get(lower, [])
                share = np.abs(expected[lower][joined]).sum() / np.abs(expected[lower]).sum()
                if skip == LEAVE_OUT and lower != "layer3.1.bn1":
                    assert abs(float(attributed.joined_share[lower][row]) - share) < 1e-4
                    expected[lower][joined] = 0
                size = np.abs(expected[lower]).max()
                np.testing.assert_allclose(attributed.relevance[lower][row], expected[lower], atol=1e-4 * size)
    assert set(attributed.joined_share) == {"layer3.0", "layer2"}


def test_one_hot_units_are_neurons() -> None:
    module = load_cifar_resnet(0, depth=14, num_classes=10)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    results = []
    for before in (frozenset[str](), ACTIVATION_FUNCTIONS):
        with Segment(module, LAYER, ["layer2"], before) as segment:
            view, _ = segment.resolve(LayerView(LAYER), 32)
            attribution = open_attribution(segment, view, images[:1])
            attribution.forward(images)
            results.append(attribution.backward(np.array([0, 1]), np.array([3, 50]))["layer2"])
    torch.testing.assert_close(*results)
