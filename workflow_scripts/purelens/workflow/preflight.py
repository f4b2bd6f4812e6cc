"""What can be known to be wrong before anything runs: layers, options and names, looked up in the networks themselves.

Building networks takes seconds, so the result is kept in ``.snakemake``, by everything it depends on.
"""

import hashlib
import importlib.util
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from purelens.circuits.selection import neuron_ids
from purelens.config.study import Config, Embedder, Layer, Model
from purelens.data.images import open_source
from purelens.data.vocabulary import FEWEST_TEXTS, read_texts
from purelens.errors import UserError, listed, nearest
from purelens.reruns.code_digests import definition_digest
from purelens.reruns.digests import architecture_digest

CACHE = Path(".snakemake") / "purelens"
SECONDS_OF_SKEW = 60


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer before anything runs.

    Attributes
    ----------
    n_neurons, n_selected
        How many neurons it has, and how many are studied.
    lower_layers
        Its lower layers, the default filled in, and how many neurons each has.
    """

    n_neurons: int
    n_selected: int
    lower_layers: dict[str, int]


def check_study(config: Config) -> dict[tuple[str, str], LayerFacts]:
    """Check a study as far as it can be without images and weights.

    Returns
    -------
    dict
        What is known of each (model, layer).

    Raises
    ------
    UserError
        If a layer is missing, a lower layer is not below it, a neuron is not in it, or LRP has no rule for what lies
        below it; if an architecture cannot be built; or if a name is unknown to its library.
    """
    known: dict[tuple[str, str], LayerFacts] = {}
    for name, model in config.models.items():
        sizes = {config.datasets[dataset].size for dataset in model.datasets or config.datasets}
        for size in sorted(sizes):
            facts = {"model": model.model_dump(exclude={"weights", "mean", "std"}), "size": size}
            for layer, found in _cached(facts, model.architecture, lambda m=model, s=size: _check_model(m, s)).items():
                known[name, layer] = LayerFacts(**found)
                _check_shards(config, layer, known[name, layer])
    for name, embedder in config.embedders.items():
        _cached({"embedder": embedder.model_dump()}, embedder.architecture or "", lambda e=embedder: _check_embedder(e))
        if embedder.source == "file" and Path(str(embedder.weights)).suffix not in (
            ".npy",
            ".safetensors",
            ".h5",
            ".hdf5",
        ):
            raise UserError(f"config: embedders.{name}.weights: expected .npy, .safetensors or .h5")
    return known


def check_lens_models(config: Config) -> dict[str, dict[str, int]]:
    """Check that the lens can be held over the models that it names.

    Returns
    -------
    dict
        Sizes of each model (see `purelens.lens.clip_shape.ClipShape`).

    Raises
    ------
    UserError
        If a model is no plain vision transformer, or a block is not below an attention.
    """
    known = {}
    for name, model in config.lens.models.items():
        embedder = config.embedders[name]
        facts = {"lens": [embedder.architecture, embedder.weights]}
        shape = _cached(facts, embedder.architecture or "", lambda e=embedder: _shape_of(e))
        known[name] = shape["shape"]
        last = known[name]["layers"] - 2
        for block in model.blocks:
            if block > last:
                reason = f"{block} is not within 0-{last}" if last >= 0 else "this CLIP has only one"
                raise UserError(
                    f"config: lens.models.{name}.blocks: neurons act through the attention of later blocks; {reason}"
                )
    return known


def _shape_of(embedder: Embedder) -> dict[str, dict[str, Any]]:
    from purelens.lens.clip_shape import clip_shape

    return {"shape": asdict(clip_shape(str(embedder.architecture), str(embedder.weights)))}


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
    named |= files_of_explanations(config) | files_of_the_lens(config)
    for key, file in named.items():
        if not Path(file).exists() and not made_by_the_world(config, file):
            raise UserError(f"config: {key}: there is no file or folder {file}")
        _check_date(key, Path(file))
    _check_writable(Path(config.results))
    for dataset in config.datasets.values():
        if not made_by_the_world(config, dataset.images):
            n_images = open_source(dataset.images).n_images
            if config.models and n_images < config.references:
                raise UserError(
                    f"images: {dataset.images} has {n_images} images, fewer than the {config.references} references wanted"
                )
            for stage in ("activations", "effects"):
                n_shards = getattr(config.shards, stage)
                if n_images < n_shards:
                    raise UserError(f"config: shards.{stage}: {n_shards} jobs for {n_images} images")


def files_of_explanations(config: Config) -> dict[str, str]:
    """Files that explanations are made from, by their keys."""
    named = {f"explain.elsewhere.{name}": path for name, path in config.explain.elsewhere.items()}
    for name, concepts in config.explain.concepts.items():
        for key in ("texts", "text_embeddings", "superclasses"):
            if getattr(concepts, key) is not None:
                named[f"explain.concepts.{name}.{key}"] = getattr(concepts, key)
    return named


def files_of_the_lens(config: Config) -> dict[str, str]:
    """Files that the lens reads, by their keys."""
    named = {"lens.texts": config.lens.texts, "lens.segmentation.file": config.lens.segmentation.file}
    named["lens.pipeline"] = config.lens.pipeline
    named |= {f"lens.attacks.{name}.images": attack.images for name, attack in config.lens.attacks.items()}
    return {key: file for key, file in named.items() if file} if config.lens.models else {}


def check_inputs_of_the_lens(config: Config) -> None:
    """Open what the lens reads late: the pool of texts, the masks, the library that draws.

    Raises
    ------
    UserError
        Naming the key.
    """
    if not config.lens.models:
        return
    try:
        found = read_texts(str(config.lens.texts))
    except UserError as error:
        raise UserError(f"config: lens.texts: {str(error).removeprefix('concepts: ')}") from None
    if len(found.names) < FEWEST_TEXTS:
        raise UserError(
            f"config: lens.texts: {config.lens.texts} has {len(found.names)} different text(s); {FEWEST_TEXTS} at least "
            "are wanted, because texts are told apart by their differences"
        )
    if config.lens.segmentation.file is not None:
        from purelens.lens.masks import open_masks

        with open_masks("", config.lens.segmentation.file):
            pass
    if config.lens.pipeline is not None and importlib.util.find_spec("diffusers") is None:
        raise UserError(
            "config: lens.pipeline: diffusers is not installed; pip install diffusers, or set pipeline: null"
        )


def _check_date(key: str, file: Path) -> None:
    """Snakemake takes what is dated in the future for newer than all that is made from it."""
    if file.is_file() and file.stat().st_mtime > time.time() + SECONDS_OF_SKEW:
        raise UserError(f"config: {key}: {file} is dated in the future; check the clock, and touch the file")


def _check_writable(results: Path) -> None:
    """Try to write a file into the results folder."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise UserError(f"config: results: the folder {results} cannot be written to: {error.strerror}") from None


def made_by_the_world(config: Config, file: str) -> bool:
    """Whether a rule of the embedded world makes this file."""
    return Path(file).parent == Path(config.results) / "world"


def _cached(facts: dict[str, Any], architecture: str, compute: Any) -> dict[str, dict[str, Any]]:
    """Look a result up by the facts, the file they name and this code; compute it if it is not known."""
    here = __name__.removeprefix("purelens.")
    code = [definition_digest(here, name) for name in ("check_study", "check_lens_models")]
    key = json.dumps([facts, architecture_digest(architecture), code], sort_keys=True, default=str)
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


def _check_model(model: Model, size: int) -> dict[str, dict[str, Any]]:
    """Build the architecture and look at each layer; returns what is known of each."""
    from purelens.networks.inspection import Inspection

    inspection = Inspection(model.architecture, model.options, size)
    found = {}
    for name, layer in model.layers.items():
        below = layer.lower_layers or [inspection.block_before(name, layer.channels)]
        n_neurons = inspection.check_layer(name, below, layer.channels)
        lower_layers = {lower: n_neurons[lower] for lower in below}
        n_selected = _check_neurons(layer, n_neurons[name], name)
        found[name] = {"n_neurons": n_neurons[name], "n_selected": n_selected, "lower_layers": lower_layers}
        if model.attribution == "lrp":
            inspection.check_rules(name)
    return found


def _check_neurons(layer: Layer, n_neurons: int, name: str) -> int:
    selected = neuron_ids(layer.neurons, n_neurons, name)
    if not selected:
        raise UserError(f"config: neurons of layer {name}: the list is empty")
    return len(selected)


def _check_shards(config: Config, name: str, layer: LayerFacts) -> None:
    for stage in ("relevances", "patches", "embeddings"):
        n_shards = getattr(config.shards, stage)
        if n_shards > layer.n_selected:
            raise UserError(
                f"config: shards.{stage}: {n_shards} jobs for {layer.n_selected} neurons of layer {name}; take fewer"
            )


def _check_embedder(embedder: Embedder) -> dict[str, dict[str, Any]]:
    """Look the architecture of an embedder up."""
    if embedder.source == "network":
        from purelens.networks.inspection import Inspection

        inspection = Inspection(str(embedder.architecture), embedder.options, embedder.size or 224)
        inspection.check_layer(str(embedder.layer), [], "auto")
    elif embedder.source == "open_clip":
        from purelens.networks.embedders import check_clip_config, check_clip_name

        if str(embedder.architecture).endswith(".json"):
            check_clip_config(str(embedder.architecture))
        else:
            check_clip_name(str(embedder.architecture), str(embedder.weights))
    elif embedder.source == "timm":
        from purelens.networks.imports import timm

        known, name = timm().list_models(), str(embedder.architecture)
        if name.split(".")[0] not in known:
            close = nearest(name, known)
            raise UserError(f"embedder: timm has no model {name!r}{close or '; e.g. ' + listed(known, 3)}")
    return {}
