"""What can be known to be wrong before anything runs: layers, options and names, looked up in the networks themselves.

Building networks takes seconds, so the result is kept in ``.snakemake``, by everything it depends on.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from purelens.config import Config, Embedder, Layer, Model
from purelens.digests import architecture_digest, code_digest
from purelens.errors import UserError, listed, nearest
from purelens.images import open_source
from purelens.neurons import neuron_ids

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
    key = json.dumps([facts, architecture_digest(architecture), code_digest("checks")], sort_keys=True, default=str)
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


def _check_embedder(embedder: Embedder) -> dict[str, list[str]]:
    """Look the architecture of an embedder up."""
    if embedder.source == "network":
        from purelens.inspection import Inspection

        inspection = Inspection(str(embedder.architecture), embedder.options, embedder.size or 224)
        inspection.check_layer(str(embedder.layer), [], "auto")
    elif embedder.source == "open_clip":
        from purelens.embedders import check_clip_config, check_clip_name

        if str(embedder.architecture).endswith(".json"):
            check_clip_config(str(embedder.architecture))
        else:
            check_clip_name(str(embedder.architecture), str(embedder.weights))
    elif embedder.source == "timm":
        from purelens.vision import timm

        known, name = timm().list_models(), str(embedder.architecture)
        if name.split(".")[0] not in known:
            close = nearest(name, known)
            raise UserError(f"embedder: timm has no model {name!r}{close or '; e.g. ' + listed(known, 3)}")
    return {}
