"""Replace weights that are computed in each forward pass by their values.

weight_norm, spectral_norm, pruning and other parametrizations keep other parameters than the weight, and rules of LRP would
modify those. In evaluation mode the weight is a constant, so a network with it in their place is the same function.
"""

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
        if parametrize.is_parametrized(layer):
            for name in [name for name, _ in layer.parametrizations.named_children()]:  # type: ignore[union-attr]
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        for hook in list(layer._forward_pre_hooks.values()):
            if isinstance(hook, SpectralNorm):
                nn.utils.remove_spectral_norm(layer, hook.name)
            elif isinstance(hook, WeightNorm):
                nn.utils.remove_weight_norm(layer, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(layer, hook._tensor_name)
    return module.requires_grad_(False)
