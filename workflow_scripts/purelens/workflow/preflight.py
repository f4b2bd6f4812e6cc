"""Check a study before the first job: its layers, options and names are looked up in the networks themselves.

Building networks takes seconds, so results are kept in ``.snakemake``, under the hash of everything they depend on.
"""

import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purelens.circuits.selection import neuron_ids
from purelens.config.base import is_there
from purelens.config.inputs import EMBEDDING_FILES, STAGE, Dataset, Embedder, Layer, Model, names_a_file
from purelens.config.study import KEEP, Config
from purelens.data.sources import open_source
from purelens.data.vocabulary import FEWEST_TEXTS, read_texts
from purelens.errors import UserError, nearest
from purelens.reruns.code_digests import definition_digest
from purelens.reruns.digests import Digests, architecture_digest
from purelens.storage.files import read_sealed, write_sealed
from purelens.storage.paths import MEMORY, is_of_the_world

if TYPE_CHECKING:
    from purelens.networks.inspection import Inspection
    from purelens.networks.subnetwork import LayerView

LEAST_ROOM = 2**20
"""Bytes that Snakemake and the digests of files take, at least."""

Facts = dict[str, dict[str, Any]]
"""What is found out about a network, for instance about each of its layers by name."""


@dataclass(frozen=True)
class LayerFacts:
    """The sizes of a layer and of its lower layers.

    Attributes
    ----------
    n_neurons, n_selected
        Number of its neurons, and of those that are studied.
    lower_layers
        Number of neurons of each lower layer; the default is filled in.
    inner_layers
        Those of the lower layers that lie inside a residual block.
    """

    n_neurons: int
    n_selected: int
    lower_layers: dict[str, int]
    inner_layers: tuple[str, ...] = ()


def check_study(config: Config, digests: Digests) -> dict[tuple[str, str], LayerFacts]:
    """Check the networks of a study, without images and weights.

    Parameters
    ----------
    config
        The study.
    digests
        Digests of files.

    Returns
    -------
    dict
        Sizes of each (model, layer).

    Raises
    ------
    UserError
        If a layer is missing, a lower layer is not below it, a neuron is not in it, or LRP has no rule for what lies
        below it; if an architecture cannot be built; or if a name is unknown to its library.
    """
    layers: dict[tuple[str, str], LayerFacts] = {}
    for name, model in config.models.items():
        for size in sorted({config.datasets[dataset].size for dataset in model.datasets or config.datasets}):
            keep = config.relevances.skip_channels == KEEP
            facts = {"model": model.model_dump(exclude={"weights", "mean", "std"}), "size": size, "keep": keep}
            for layer, sizes in looked_up(
                facts, model.architecture, digests, partial(_check_model, model, size, keep)
            ).items():
                layers[name, layer] = LayerFacts(**sizes)
                _check_shards(config, layer, layers[name, layer])
    for name, embedder in config.embedders.items():
        looked_up(
            {"embedder": embedder.model_dump()},
            embedder.architecture or "",
            digests,
            partial(_check_embedder, embedder),
        )
        if embedder.source == "file" and Path(str(embedder.weights)).suffix not in EMBEDDING_FILES:
            raise UserError(f"config: embedders.{name}.weights: expected .npy, .safetensors or .h5")
    return layers


def check_lens_models(config: Config, digests: Digests) -> dict[str, dict[str, int]]:
    """Check the CLIPs of the lens.

    Parameters
    ----------
    config
        The study.
    digests
        Digests of files.

    Returns
    -------
    dict
        Sizes of each model (see `purelens.lens.clip_shape.ClipShape`).

    Raises
    ------
    UserError
        If a model is not a plain vision transformer, or there is no attention above a block.
    """
    clips = {}
    for name, model in config.lens.models.items():
        embedder = config.embedders[name]
        facts = {"lens": [embedder.architecture, embedder.weights]}
        shape = looked_up(facts, embedder.architecture or "", digests, partial(_shape_of, embedder))
        clips[name] = shape["shape"]
        last = clips[name]["layers"] - 2
        for block in model.blocks:
            if block > last:
                reason = f"{block} is not within 0-{last}" if last >= 0 else "this CLIP has only one"
                raise UserError(
                    f"config: lens.models.{name}.blocks: neurons act through the attention of later blocks; {reason}"
                )
    return clips


def _shape_of(embedder: Embedder) -> Facts:
    from purelens.lens.clip_shape import clip_shape

    return {"shape": asdict(clip_shape(str(embedder.architecture), str(embedder.weights)))}


def check_files(config: Config) -> None:
    """Check that the images and weights of a study exist, and that there are enough images.

    Raises
    ------
    UserError
        Naming the key and the file.
    """
    named = {f"datasets.{name}.images": dataset.images for name, dataset in config.datasets.items()}
    named |= {
        f"models.{name}.weights": model.weights for name, model in config.models.items() if names_a_file(model.weights)
    }
    for name, embedder in config.embedders.items():
        if names_a_file(embedder.weights or ""):
            named[f"embedders.{name}.weights"] = str(embedder.weights)
    named |= files_of_explanations(config) | files_of_the_lens(config)
    for key, file in named.items():
        if not is_there(file) and not is_of_the_world(config.results, file):
            raise UserError(f"config: {key}: there is no file or folder {file}")
    for name, embedder in config.embedders.items():
        if embedder.source == "file":
            _check_embeddings(f"embedders.{name}.weights", str(embedder.weights))
    for name, concepts in config.explain.concepts.items():
        if concepts.text_embeddings is not None:
            _check_embeddings(f"explain.concepts.{name}.text_embeddings", concepts.text_embeddings)
    for dataset in config.datasets.values():
        if not is_of_the_world(config.results, dataset.images):
            n_images = _count_images(dataset)
            if config.models and n_images < config.references:
                raise UserError(
                    f"images: {dataset.images} has {n_images} images, fewer than the {config.references} references of a neuron"
                )
            for stage in ("activations", "effects"):
                n_shards = getattr(config.shards, stage)
                if n_images < n_shards:
                    raise UserError(f"config: shards.{stage}: {n_shards} jobs for {n_images} images")


def _count_images(dataset: Dataset) -> int:
    """Count the images of a source, without decoding them; those that are not there do not count."""
    source = open_source(dataset.images)
    if source.folder is None:
        return source.n_images
    there = [is_there(source.folder / path) for path in source.paths]
    missing = [path for path, exists in zip(source.paths, there, strict=True) if not exists]
    if missing and (dataset.on_bad_image == "error" or len(missing) == source.n_images):
        some = f"{len(missing)} of the {source.n_images} images are not there, such as {missing[0]}"
        raise UserError(f"images: {dataset.images}: {some}")
    return source.n_images - len(missing)


def _check_embeddings(key: str, path: str) -> None:
    from purelens.networks.embedding_files import check_embeddings

    try:
        check_embeddings(path)
    except UserError as error:
        raise UserError(f"config: {key}: {str(error).removeprefix('embedder: ')}") from None


def files_of_explanations(config: Config) -> dict[str, str]:
    """Collect the files that explanations are made from, by their keys."""
    named = {f"explain.imported.{name}": path for name, path in config.explain.imported.items()}
    for name, concepts in config.explain.concepts.items():
        for key in ("texts", "text_embeddings", "superclasses"):
            if getattr(concepts, key) is not None:
                named[f"explain.concepts.{name}.{key}"] = getattr(concepts, key)
    return named


def files_of_the_lens(config: Config) -> dict[str, str]:
    """Collect the files that the lens reads, by their keys."""
    named = {"lens.texts": config.lens.texts, "lens.segmentation.file": config.lens.segmentation.file}
    named["lens.pipeline"] = config.lens.pipeline
    named |= {f"lens.attacks.{name}.images": attack.images for name, attack in config.lens.attacks.items()}
    return {key: file for key, file in named.items() if file} if config.lens.models else {}


def check_inputs_of_the_lens(config: Config) -> None:
    """Open what the last jobs of the lens read: the pool of texts, the masks, the library that generates images.

    Raises
    ------
    UserError
        Naming the key.
    """
    if not config.lens.models:
        return
    try:
        pool = read_texts(str(config.lens.texts))
    except UserError as error:
        raise UserError(f"config: lens.texts: {str(error).removeprefix('concepts: ')}") from None
    if len(pool.names) < FEWEST_TEXTS:
        raise UserError(
            f"config: lens.texts: {config.lens.texts} has {len(pool.names)} different text(s); at least {FEWEST_TEXTS} "
            "are needed, because a direction is a sum of differences between texts"
        )
    if config.lens.segmentation.file is not None:
        from purelens.lens.masks import open_masks

        with open_masks("", config.lens.segmentation.file):
            pass
    if config.lens.pipeline is not None and importlib.util.find_spec("diffusers") is None:
        raise UserError(
            "config: lens.pipeline: diffusers is not installed; pip install diffusers, or set pipeline: null"
        )


def check_room(folder: Path) -> None:
    """Check that Snakemake can write down what it does, in ``.snakemake``.

    Raises
    ------
    UserError
        If the disk is full.
    """
    free = shutil.disk_usage(folder).free
    if free < LEAST_ROOM:
        raise UserError(f"No space left on device for {folder}/.snakemake: {free // 1024} KB are free")


def check_writable(results: Path) -> None:
    """Try to write a file into the results folder.

    Raises
    ------
    UserError
        If that cannot be done.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise UserError(f"config: results: the folder {results} cannot be written to: {error.strerror}") from None


def looked_up(facts: Mapping[str, Any], architecture: str, digests: Digests, compute: Callable[[], Facts]) -> Facts:
    """Look up a result in the memory of checks; compute it if it is not there.

    Parameters
    ----------
    facts, architecture
        What decides it, besides the code of the checks: settings, and the architecture, whose file may change.
    digests
        Digests of files.
    compute
        Computes it.

    Returns
    -------
    dict
        The result.
    """
    key = json.dumps(
        [facts, architecture_digest(architecture, digests), _code_of_checks()], sort_keys=True, default=str
    )
    path = MEMORY / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    known: Facts | None = read_sealed(path)
    if known is not None:
        return known
    result = compute()
    write_sealed(path, result)
    return result


@cache
def _code_of_checks() -> list[str]:
    here = __name__.removeprefix("purelens.")
    checks = [(here, "check_study"), (here, "check_lens_models"), ("workflow.trial", "try_networks")]
    return [definition_digest(module, name) for module, name in checks]


def _check_model(model: Model, size: int, keep: bool) -> Facts:
    """Build the architecture and check each layer; returns the sizes of each."""
    from purelens.networks.inspection import Inspection
    from purelens.networks.subnetwork import LayerView

    inspection = Inspection(model.architecture, model.options, size)
    layers: Facts = {}
    for name, layer in model.layers.items():
        view = LayerView(name, layer.channels, layer.lower_channels)
        below, inside = _lower_layers(inspection, layer, view)
        n_neurons = inspection.check_layer(view, below)
        inspection.check_independent(name, below)
        if not keep:
            inspection.check_mixes(name, below)
        layers[name] = {
            "n_neurons": n_neurons[name],
            "n_selected": _check_neurons(layer, n_neurons[name], name),
            "lower_layers": {lower: n_neurons[lower] for lower in below},
            "inner_layers": inside,
        }
        if model.attribution == "lrp":
            inspection.check_rules(name)
    return layers


def _lower_layers(inspection: "Inspection", layer: Layer, view: "LayerView") -> tuple[list[str], list[str]]:
    """List the lower layers of a layer, and those of them inside a block; what the study leaves open is filled in."""
    if layer.lower_layers == STAGE:
        below, inside = inspection.stage(view)
    else:
        below = list(layer.lower_layers or [inspection.block_before(view)])
        inside = inspection.inside_blocks(below)
    for lower in layer.lower_channels:
        if lower not in below:
            raise UserError(
                f"config: lower_channels of layer {view.name}: {lower!r} is no lower layer{nearest(lower, below)}"
            )
    return below, inside


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


def _check_embedder(embedder: Embedder) -> Facts:
    """Look up the architecture of an embedding model."""
    if embedder.source == "network":
        from purelens.networks.inspection import Inspection
        from purelens.networks.subnetwork import LayerView

        inspection = Inspection(str(embedder.architecture), embedder.options, embedder.size or 224)
        inspection.check_layer(LayerView(str(embedder.layer), "auto"), [])
        inspection.check_independent(str(embedder.layer), [])
    elif embedder.source == "open_clip":
        from purelens.networks.embedders import check_clip_config, check_clip_name

        if str(embedder.architecture).endswith(".json"):
            check_clip_config(str(embedder.architecture))
        else:
            check_clip_name(str(embedder.architecture), str(embedder.weights))
    elif embedder.source == "timm":
        from purelens.networks.architectures import check_timm_name

        check_timm_name(str(embedder.architecture), "embedder")
    return {}
