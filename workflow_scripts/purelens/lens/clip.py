"""Load CLIPs for the lens."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from purelens.errors import UserError
from purelens.lens.clip_checks import check_activations, check_tower, uses_quick_gelu
from purelens.lens.clip_shape import trained_with_quick_gelu
from purelens.networks.embedders import Embedder, load_embedder

logger = logging.getLogger("purelens")


def load_clip(embedder: Mapping[str, Any], device: torch.device, seed: int = 0) -> Embedder:
    """Load a CLIP and check that its towers use the activation function of its weights.

    Parameters
    ----------
    embedder
        Configuration of an open_clip model (see `purelens.config.inputs.Embedder`).
    device
        Where it will compute.
    seed
        Seed of random weights.

    Returns
    -------
    Embedder
        The CLIP on its device.

    Raises
    ------
    UserError
        If it cannot be had, or its activation function is another.
    """
    settings = dict(embedder)
    loaded = load_embedder(settings.pop("source"), settings, device, seed)
    check_tower(loaded.network.module.visual)
    architecture, weights = embedder["architecture"], embedder["weights"]
    trained = trained_with_quick_gelu(architecture, weights)
    check_activations(loaded.network.module, trained)
    if trained is None and weights != "random":
        kind = "QuickGELU" if uses_quick_gelu(loaded.network.module.visual) else "GELU"
        logger.info("%s uses %s; whether %s were trained with it is not known", architecture, kind, weights)
    return loaded


def finite(embedding: torch.Tensor) -> torch.Tensor:
    """Return the embeddings of images, all of them finite.

    Raises
    ------
    UserError
        If one is NaN or infinite.
    """
    if not torch.isfinite(embedding).all():
        raise UserError("lens: the CLIP gives NaN or infinite embeddings of images; check its weights")
    return embedding
