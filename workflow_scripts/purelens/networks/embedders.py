"""Load embedding models."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from purelens.config.inputs import SCHEMES, names_a_file
from purelens.data.images import Geometry
from purelens.errors import UserError, listed, nearest
from purelens.networks.checkpoints import load_weights, read_checkpoint
from purelens.networks.imports import open_clip, timm
from purelens.networks.loading import Network, build_network
from purelens.networks.same_outputs import check_same_in_a_batch
from purelens.networks.subnetwork import LayerView, Segment, on_meta
from purelens.storage.files import read_text

TEXTS_AT_A_TIME = 256


@dataclass(frozen=True)
class Embedder:
    """An embedding model.

    Attributes
    ----------
    geometry
        Resizing and crop that turn an image into the model's input.
    network
        The model, frozen, with the normalization of its input.
    function
        Maps normalized images (b, 3, S, S) to embeddings (b, D).
    """

    geometry: Geometry
    network: Network
    function: Callable[[torch.Tensor], torch.Tensor]

    def embed(self, pixels: np.ndarray) -> torch.Tensor:
        """Embed images (b, S, S, 3) uint8 that have been through the geometry: (b, D) float."""
        with torch.inference_mode():
            return self.function(self.network.prepare(pixels)).float()

    @property
    def n_components(self) -> int:
        """Length D of an embedding."""
        return on_meta(self.network.module, self.function, self.geometry.size).shape[1]


def load_embedder(source: str, settings: Mapping[str, Any], device: torch.device, seed: int = 0) -> Embedder:
    """Load an embedding model.

    Parameters
    ----------
    source
        ``open_clip``, ``timm`` or ``network``.
    settings
        The other keys of its configuration (see `purelens.config.inputs.Embedder`).
    device
        Where it will compute.
    seed
        Seed of random weights.

    Returns
    -------
    Embedder
        The model on its device, with the geometry of its images.

    Raises
    ------
    UserError
        If there is no such architecture, or its weights cannot be had.
    """
    torch.manual_seed(seed)
    loaders: dict[str, Callable[..., Embedder]] = {
        "open_clip": _load_open_clip,
        "timm": _load_timm,
        "network": _load_network,
    }
    embedder = loaders[source](**settings)
    embedder.network.module.eval().requires_grad_(False)
    return replace(embedder, network=embedder.network.to(device))


def build_clip(architecture: str, weights: str) -> Any:
    """Build an open_clip model with its weights.

    Parameters
    ----------
    architecture
        A model name of open_clip, or the path of a ``.json`` model config.
    weights
        A pretrained tag of open_clip, ``random``, or a checkpoint file.

    Raises
    ------
    UserError
        If there is no such model, or its weights cannot be had or do not fit.
    """
    library = open_clip()
    name = architecture
    if architecture.endswith(".json"):
        check_clip_config(architecture)
        library.add_model_config(Path(architecture))
        name = Path(architecture).stem
    check_clip_name(name, weights)
    try:
        if name.startswith(SCHEMES):
            trained = weights != "random"
            return library.create_model(_scheme(name), load_weights=trained, require_pretrained=trained)
        if weights == "random" or names_a_file(weights):
            model = library.create_model(name, pretrained=None)
            return model if weights == "random" else _with_checkpoint(model, weights, architecture)
        return library.create_model(name, pretrained=weights)
    except UserError:
        raise
    except Exception as error:  # network and hub errors of several libraries
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"embedder: weights {weights!r} of {name} cannot be had: {reason}") from None


def _scheme(name: str) -> str:
    """Write a name of a hub as open_clip does."""
    return name.replace("hf_hub:", "hf-hub:", 1)


def _with_checkpoint(model: Any, weights: str, architecture: str) -> Any:
    """Load a checkpoint; where it does not fit as it is, as open_clip loads its own: positions are adapted."""
    try:
        load_weights(model, weights, architecture)
    except UserError:
        read_checkpoint(weights)  # refuses what is more than tensors
        if not _adapted(model, weights):
            raise
    return model


def _adapted(model: Any, weights: str) -> bool:
    """Let open_clip load a checkpoint in its own way; False if it cannot, of which it says a thousand words."""
    try:
        open_clip().factory.load_checkpoint(model, weights)
    except Exception:
        return False
    return True


def check_clip_name(name: str, weights: str) -> None:
    """Check that open_clip has a model and, unless they are random or a file, its weights.

    Parameters
    ----------
    name, weights
        As ``architecture`` and ``weights`` of `build_clip`.

    Raises
    ------
    UserError
        With the nearest valid name.
    """
    if name.startswith(SCHEMES):
        return  # the library tells what a hub or a folder lacks
    known = open_clip().list_models()
    if name not in known:
        close = nearest(name, known)
        raise UserError(f"embedder: open_clip has no model {name!r}{close or '; e.g. ' + listed(known, 3)}")
    tags = open_clip().list_pretrained_tags_by_model(name)
    if weights != "random" and not names_a_file(weights) and weights not in tags:
        close = nearest(weights, tags)
        raise UserError(f"embedder: {name} has no pretrained tag {weights!r}{close}; has {listed(tags)}")


def check_clip_config(path: str) -> None:
    """Check that a file is a model config of open_clip.

    Raises
    ------
    UserError
        If it is missing, no JSON, or lacks a section.
    """
    try:
        values = json.loads(read_text(path))
    except FileNotFoundError:
        raise UserError(f"embedder: there is no model config {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"embedder: {path} is not JSON: {error}") from None
    missing = [
        key for key in ("embed_dim", "vision_cfg", "text_cfg") if not isinstance(values, dict) or key not in values
    ]
    if missing:
        raise UserError(f"embedder: {path} is no model config of open_clip: it lacks {listed(missing)}")


def encode_texts(
    architecture: str, weights: str, texts: Sequence[str], device: str = "cpu", seed: int = 0
) -> np.ndarray:
    """Embed texts with the text tower of an open_clip model.

    Parameters
    ----------
    architecture, weights
        See `build_clip`.
    texts
        n prompts.
    device
        Where to compute.
    seed
        Seed of random weights, which are those of `load_embedder` with the same seed.

    Returns
    -------
    numpy.ndarray
        (n, D), not normalized.
    """
    torch.manual_seed(seed)
    model = build_clip(architecture, weights).eval().requires_grad_(False).to(device)
    name = Path(architecture).stem if architecture.endswith(".json") else _scheme(architecture)
    tokenize = open_clip().get_tokenizer(name)
    embeddings = []
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            tokens = tokenize(list(texts[start : start + TEXTS_AT_A_TIME]))
            embeddings.append(model.encode_text(tokens.to(device)).float().cpu().numpy())
    return np.concatenate(embeddings)


def _load_open_clip(architecture: str, weights: str | None, output: str = "pooled", **_: Any) -> Embedder:
    model = build_clip(architecture, weights or "random")
    settings = open_clip().get_model_preprocess_cfg(model)
    size = settings["size"][0] if isinstance(settings["size"], tuple | list) else settings["size"]

    def tokens(images: torch.Tensor) -> torch.Tensor:
        states = model.visual.forward_intermediates(
            images, indices=1, intermediates_only=True, output_fmt="NLC", output_extra_tokens=True
        )
        parts = [*states.get("image_intermediates_prefix", []), *states["image_intermediates"]]
        return torch.cat(parts, dim=1).mean(dim=1)

    if output == "tokens" and not hasattr(model.visual, "forward_intermediates"):
        raise UserError(f"embedder: {architecture} has no tokens; set output: pooled")
    function = tokens if output == "tokens" else model.encode_image
    network = Network(model, tuple(settings["mean"]), tuple(settings["std"]))
    return Embedder(Geometry(size, size, settings["interpolation"], 1), network, function)


def _load_timm(
    architecture: str,
    weights: str | None,
    output: str = "pooled",
    options: Mapping[str, Any] | None = None,
    size: int | None = None,
    **_: Any,
) -> Embedder:
    chosen = {"num_classes": 0, **({"img_size": size} if size else {}), **(options or {})}
    try:
        network = build_network(f"timm:{architecture}", chosen, weights or "published")
    except UserError:
        if not size:
            raise
        # convolutional networks take any size and no such option
        chosen.pop("img_size")
        network = build_network(f"timm:{architecture}", chosen, weights or "published")
    model: Any = network.module
    settings = timm().data.resolve_model_data_config(model)
    side = size or settings["input_size"][1]
    interpolation = "bicubic" if settings["interpolation"] == "bicubic" else "bilinear"
    geometry = Geometry(side, math.floor(side / settings["crop_pct"]), interpolation, 1)

    def tokens(images: torch.Tensor) -> torch.Tensor:
        # The layer is the whole network, which errors call by its name.
        return LayerView(architecture).maps(model.forward_features(images)).mean(dim=-1)

    network = Network(model, tuple(settings["mean"]), tuple(settings["std"]))
    return Embedder(geometry, network, tokens if output == "tokens" else model)


def _load_network(
    architecture: str,
    weights: str | None,
    layer: str,
    size: int,
    options: Mapping[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    **_: Any,
) -> Embedder:
    network = build_network(architecture, options or {}, weights or "published", mean, std)
    check_same_in_a_batch(network.module, size)
    with Segment(network.module, layer) as found:
        view, _ = found.resolve(LayerView(layer), size)

    def pooled(images: torch.Tensor) -> torch.Tensor:
        with Segment(network.module, layer) as segment:
            output, _ = segment.forward(images)
        return view.maps(output).mean(dim=-1)

    return Embedder(Geometry(size, size, "bilinear", 1), network, pooled)
