"""Compute activations, references and relevances by their definitions, one image and one neuron at a time."""

import torch

from purelens.networks.subnetwork import find_layer


def outputs(module: torch.nn.Module, names: list[str], image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Record the outputs of layers in one whole forward pass.

    Parameters
    ----------
    module
        The network.
    names
        Names of the layers.
    image
        (1, 3, H, W), normalized.

    Returns
    -------
    dict
        The output of each layer, by name.
    """
    recorded: dict[str, torch.Tensor] = {}
    handles = [
        find_layer(module, name).register_forward_hook(lambda _, __, output, name=name: recorded.update({name: output}))
        for name in names
    ]
    module(image)
    for handle in handles:
        handle.remove()
    return recorded


def references(values: torch.Tensor, n_references: int) -> list[list[int]]:
    """Rank images (N, C) of each neuron: value descending, image ascending, only values above zero."""
    ranked = []
    for neuron in range(values.shape[1]):
        order = sorted(range(len(values)), key=lambda image: (-values[image, neuron].item(), image))
        chosen = [image for image in order if values[image, neuron] > 0][:n_references]
        ranked.append(chosen + [-1] * (n_references - len(chosen)))
    return ranked


def relevance(
    module: torch.nn.Module,
    layer: str,
    lower_layer: str,
    neuron: int,
    image: torch.Tensor,
    normalize: bool = True,
    joined: int | None = None,
) -> torch.Tensor:
    """Multiply lower activations by the gradient of 1/2 sum_p relu(a_k(p))^2, and sum over positions.

    Parameters
    ----------
    module
        The network.
    layer, lower_layer, neuron
        Names of the layers, and the number of the neuron.
    image
        (1, 3, H, W), normalized.
    normalize
        Whether the result is divided by the sum of its absolute values.
    joined
        Number of the lower neuron that an identity shortcut joins to the neuron, which gets nothing; None: none.

    Returns
    -------
    torch.Tensor
        (C_lower,).
    """
    with torch.enable_grad():
        output = outputs(module, [layer, lower_layer], image.clone().requires_grad_())
        objective = 0.5 * output[layer][:, neuron].clamp(min=0).square().sum()
        (gradient,) = torch.autograd.grad(objective, output[lower_layer])
    product = (output[lower_layer] * gradient).flatten(2).sum(dim=2)[0].detach()
    if joined is not None:
        product[joined] = 0
    return product / (product.abs().sum() + 1e-10) if normalize else product
