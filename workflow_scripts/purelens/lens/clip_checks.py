"""Check that a CLIP is one that the second-order lens can read."""

from typing import Any

from torch import nn

from purelens.errors import UserError


def check_tower(visual: Any) -> None:
    """Check that a vision tower is the plain transformer that the method is about.

    Raises
    ------
    UserError
        Saying what it is instead.
    """
    kind = type(visual).__name__
    if kind != "VisionTransformer":
        raise UserError(f"lens: a vision transformer of open_clip is needed, but this CLIP's images go through {kind}")
    if visual.output_tokens:
        raise UserError(
            "lens: this CLIP gives its tokens besides the embedding; set output_tokens: false in its config"
        )
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise UserError("lens: the image embedding must be read from the class token; this CLIP pools its tokens")
    for block in visual.transformer.resblocks:
        if type(block).__name__ != "ResidualAttentionBlock" or not isinstance(block.attn, nn.MultiheadAttention):
            raise UserError(f"lens: blocks of {type(block).__name__} are not known; only plain ones are")


def check_activations(model: Any, quick: bool | None) -> None:
    """Check that image and text tower use one activation function, and that of the weights.

    OpenAI's weights were trained with QuickGELU; with GELU they run without an error, and are worse.

    Parameters
    ----------
    model
        A CLIP of open_clip.
    quick
        Whether the weights were trained with QuickGELU; None: it is not known.

    Raises
    ------
    UserError
        If they differ.
    """
    text = getattr(model, "text", model)
    image = uses_quick_gelu(model.visual)
    if hasattr(text, "transformer") and hasattr(text.transformer, "resblocks") and uses_quick_gelu(text) != image:
        raise UserError("lens: one tower of this CLIP uses QuickGELU, the other GELU")
    if quick is not None and quick != image:
        names = {True: "QuickGELU", False: "GELU"}
        other = "the architecture with -quickgelu at its end" if quick else "the architecture without -quickgelu"
        raise UserError(
            f"lens: the weights were trained with {names[quick]}, the model uses {names[image]}; take {other}"
        )


def uses_quick_gelu(tower: Any) -> bool:
    """Tell whether a tower's MLPs use x sigmoid(1.702 x)."""
    return type(tower.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
