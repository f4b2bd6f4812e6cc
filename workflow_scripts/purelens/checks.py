"""What can be known to be wrong before anything runs: layers, options and names, looked up in the networks themselves.

Building networks takes seconds, so the result is kept in ``.snakemake``, by everything it depends on.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from purelens.config import Config, Embedder, Layer, Model, neuron_ids
from purelens.digests import code_digest, file_digest
from purelens.errors import UserError, listed, nearest
from purelens.images import open_source

CACHE = Path(".snakemake") / "purelens"

LowerLayers = dict[tuple[str, str], list[str]]


def check_study(config: Config) -> LowerLayers:
    """Check a study as far as it can be without images and weights.

    Returns
    -------
    dict
        The lower layers of each (model, layer), the default filled in.

    Raises
    ------
    UserError
        If a layer is missing, a lower layer is not below it, a neuron is not in it, or LRP has no rule for what lies
        below it; if an architecture cannot be built; or if a name is unknown to its library.
    """
    lower_layers: LowerLayers = {}
    for name, model in config.models.items():
        sizes = {config.datasets[dataset].size for dataset in model.datasets or config.datasets}
        for size in sorted(sizes):
            facts = {"model": model.model_dump(exclude={"weights", "mean", "std"}), "size": size}
            for layer, lower in _cached(facts, model.architecture, lambda m=model, s=size: _check_model(m, s)).items():
                lower_layers[name, layer] = lower
    for name, embedder in config.embedders.items():
        _cached({"embedder": embedder.model_dump()}, embedder.architecture or "", lambda e=embedder: _check_embedder(e))
        if embedder.source == "file" and Path(str(embedder.weights)).suffix not in (
            ".npy",
            ".safetensors",
            ".h5",
            ".hdf5",
        ):
            raise UserError(f"config: embedders.{name}.weights: expected .npy, .safetensors or .h5")
    return lower_layers


def check_files(config: Config) -> None:
    """Check that the images and weights that the study names are there, and images enough, before the first job.

    Raises
    ------
    UserError
        Naming the key and the file.
    """
    named = {f"datasets.{name}.images": dataset.images for name, dataset in config.datasets.items()}
    named |= {f"models.{name}.weights": model.weights for name, model in config.models.items() if "." in model.weights}
    for name, embedder in config.embedders.items():
        if Path(embedder.weights or "").suffix:
            named[f"embedders.{name}.weights"] = str(embedder.weights)
    for key, file in named.items():
        if not Path(file).exists() and not made_by_the_world(config, file):
            raise UserError(f"config: {key}: there is no file or folder {file}")
    for dataset in config.datasets.values():
        if not made_by_the_world(config, dataset.images):
            n_images = open_source(dataset.images).n_images
            if n_images < config.references:
                raise UserError(
                    f"images: {dataset.images} has {n_images} images, fewer than the {config.references} references wanted"
                )


def made_by_the_world(config: Config, file: str) -> bool:
    """Whether a rule of the embedded world makes this file."""
    return Path(file).parent == Path(config.results) / "world"


def _cached(facts: dict[str, Any], architecture: str, compute: Any) -> dict[str, list[str]]:
    """Look a result up by the facts, the file they name and this code; compute it if it is not known."""
    file = architecture.rpartition(":")[0] if ".py:" in architecture else architecture
    content = file_digest(file) if file.endswith((".py", ".json")) else None
    key = json.dumps([facts, content, code_digest("checks")], sort_keys=True, default=str)
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    result = compute()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(result), encoding="utf-8")
        temporary.replace(path)
    return result


def _check_model(model: Model, size: int) -> dict[str, list[str]]:
    """Build the architecture and look at each layer; returns the lower layers of each."""
    from purelens.inspection import Inspection

    inspection = Inspection(model.architecture, model.options, size)
    found = {}
    for name, layer in model.layers.items():
        found[name] = layer.lower_layers or [inspection.block_before(name, layer.channels)]
        n_neurons = inspection.check_layer(name, found[name], layer.channels)
        _check_neurons(layer, n_neurons, name)
        if model.attribution == "lrp":
            inspection.check_rules(name)
    return found


def _check_neurons(layer: Layer, n_neurons: int, name: str) -> None:
    if not neuron_ids(layer.neurons, n_neurons, name):
        raise UserError(f"config: neurons of layer {name}: the list is empty")


def _check_tag(name: str, weights: str, tags: list[str]) -> None:
    if weights != "random" and not Path(weights).suffix and weights not in tags:
        raise UserError(
            f"embedder: {name} has no pretrained tag {weights!r}{nearest(weights, tags)}; has {listed(tags)}"
        )


def check_clip_config(path: str) -> None:
    """Check that a file is a model config of open_clip.

    Raises
    ------
    UserError
        If it is missing, no JSON, or lacks a section.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"embedder: there is no model config {path}") from None
    except ValueError as error:
        raise UserError(f"embedder: {path} is not JSON: {error}") from None
    missing = [
        key for key in ("embed_dim", "vision_cfg", "text_cfg") if not isinstance(values, dict) or key not in values
    ]
    if missing:
        raise UserError(f"embedder: {path} is no model config of open_clip: it lacks {listed(missing)}")


def _check_embedder(embedder: Embedder) -> dict[str, list[str]]:
    """Look the architecture of an embedder up."""
    if embedder.source == "network":
        from purelens.inspection import Inspection

        inspection = Inspection(str(embedder.architecture), embedder.options, embedder.size or 224)
        inspection.check_layer(str(embedder.layer), [], "auto")
    elif embedder.source == "open_clip" and str(embedder.architecture).endswith(".json"):
        check_clip_config(str(embedder.architecture))
    elif embedder.source in ("open_clip", "timm"):
        from purelens.vision import open_clip, timm

        known = open_clip().list_models() if embedder.source == "open_clip" else timm().list_models()
        name = str(embedder.architecture)
        if name.split(".")[0] not in known and name not in known:
            close = nearest(name, known)
            raise UserError(f"embedder: {embedder.source} has no model {name!r}{close or '; e.g. ' + listed(known, 3)}")
        if embedder.source == "open_clip":
            _check_tag(name, str(embedder.weights), open_clip().list_pretrained_tags_by_model(name))
    return {}
