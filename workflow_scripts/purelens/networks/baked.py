"""Replace weights that are computed in each forward pass by their values.

weight_norm, spectral_norm, pruning and other parametrizations keep other parameters than the weight, and rules of LRP would
modify those. In evaluation mode the weight is a constant, so a network with it in their place is the same function.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def bake_weights(module: nn.Module) -> nn.Module:
    """Give each layer with a computed weight a plain one, in place.

    Parameters
    ----------
    module
        A network in evaluation mode, with its weights loaded.

    Returns
    -------
    torch.nn.Module
        The network.
    """
    for layer in module.modules():
        for name in _bake(layer):
            value = getattr(layer, name)
            if not isinstance(value, nn.Parameter):  # torch leaves a buffer where the parameters were frozen
                delattr(layer, name)
                layer.register_parameter(name, nn.Parameter(value.detach()))
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not layer.affine and layer.running_mean is not None:
            # zennit merges its weight and bias into the layer before
            layer.weight = nn.Parameter(torch.ones_like(layer.running_mean))
            layer.bias = nn.Parameter(torch.zeros_like(layer.running_mean))
            layer.affine = True
    return module.requires_grad_(False)


def _bake(layer: nn.Module) -> list[str]:
    """Replace the computed tensors of one layer; return their names."""
    names = []
    if parametrize.is_parametrized(layer):
        for name in [name for name, _ in layer.parametrizations.named_children()]:  # type: ignore[union-attr]
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
            names.append(name)
    for hook in list(layer._forward_pre_hooks.values()):
        if isinstance(hook, SpectralNorm):
            nn.utils.remove_spectral_norm(layer, hook.name)
            names.append(hook.name)
        elif isinstance(hook, WeightNorm):
            nn.utils.remove_weight_norm(layer, hook.name)
            names.append(hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            names.append(hook._tensor_name)
            prune.remove(layer, hook._tensor_name)
    return names
