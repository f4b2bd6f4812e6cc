"""Look up the shape of a CLIP in open_clip's model configs, before it is built."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purelens.errors import UserError
from purelens.networks.embedders import check_clip_config, check_clip_name
from purelens.networks.imports import open_clip


@dataclass(frozen=True)
class ClipShape:
    """Sizes of a CLIP's vision transformer.

    Attributes
    ----------
    layers, heads
        Number of blocks, and of attention heads in each.
    neurons
        Number of neurons in each block's MLP.
    components
        Length of the image embedding.
    """

    layers: int
    heads: int
    neurons: int
    components: int


def clip_shape(architecture: str, weights: str) -> ClipShape:
    """Look up the shape of a CLIP, and check that the lens can read it.

    Parameters
    ----------
    architecture, weights
        As of an embedding model (see `purelens.networks.embedders.build_clip`).

    Raises
    ------
    UserError
        If its images do not go through a plain vision transformer whose class token is the embedding, or its activation
        function is not that of its weights.
    """
    config = _model_config(architecture, weights)
    vision = config["vision_cfg"]
    if vision.get("timm_model_name") or not isinstance(vision.get("layers", 12), int):
        kind = vision.get("timm_model_name") or "a ResNet"
        raise UserError(f"lens: {architecture}: images go through {kind}, not through open_clip's vision transformer")
    if vision.get("attentional_pool") or vision.get("pool_type", "tok") != "tok":
        raise UserError(f"lens: {architecture}: the image embedding is pooled, not read from the class token")
    if not architecture.endswith(".json"):
        _check_activation(architecture, weights, bool(config.get("quick_gelu", False)))
    size = vision.get("image_size", 224)
    if isinstance(size, list | tuple) and len(set(size)) > 1:
        raise UserError(f"lens: {architecture}: its images are no squares ({'x'.join(map(str, size))})")
    width = int(vision.get("width", 768))
    heads = width // int(vision.get("head_width", 64))
    return ClipShape(
        vision.get("layers", 12), heads, int(width * vision.get("mlp_ratio", 4.0)), int(config["embed_dim"])
    )


def _model_config(architecture: str, weights: str) -> dict[str, Any]:
    if architecture.endswith(".json"):
        check_clip_config(architecture)
        return json.loads(Path(architecture).read_text(encoding="utf-8"))
    check_clip_name(architecture, weights)
    return open_clip().get_model_config(architecture)


def _check_activation(architecture: str, weights: str, quick: bool) -> None:
    """Check the activation function: OpenAI's weights were trained with QuickGELU; with GELU they run, and are worse."""
    trained = trained_with_quick_gelu(architecture, weights)
    if trained is not None and trained != quick:
        base = architecture.removesuffix("-quickgelu")
        names = {True: f"{base}-quickgelu", False: base}
        known = open_clip().list_models()
        other = f"take {names[trained]}" if names[trained] in known else "there is no such model of the other kind"
        kind = "QuickGELU" if trained else "GELU"
        raise UserError(
            f"lens: weights {weights!r} of {architecture} were trained with {kind}, which the model does not use; {other}"
        )


def trained_with_quick_gelu(architecture: str, weights: str | None) -> bool | None:
    """Tell whether published weights were trained with QuickGELU; None for others, of which it is not known."""
    if not weights or weights == "random" or Path(weights).suffix:
        return None
    known = open_clip().get_pretrained_cfg(architecture, weights)
    return bool(known.get("quick_gelu", False)) if known else None
