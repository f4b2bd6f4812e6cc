"""Load each checkpoint of a study, and try LRP on a few of its images, to tell before the first job what would go wrong."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from purelens.circuits.conservation import LRP, conservation_warnings
from purelens.config.base import is_there
from purelens.config.inputs import Dataset, Embedder, Model, names_a_file
from purelens.config.study import Config
from purelens.data.decoding import BadImageError
from purelens.data.images import Geometry
from purelens.data.sources import open_source
from purelens.reruns.digests import Digests, source_digest
from purelens.storage.paths import is_of_the_world
from purelens.workflow.preflight import Facts, looked_up

logger = logging.getLogger("purelens")

IMAGES, NEURONS = 2, 4
"""Images that LRP is tried on, and neurons of each."""


def try_networks(config: Config, digests: Digests) -> list[str]:
    """Load each checkpoint that is there once; try LRP with it.

    Parameters
    ----------
    config
        The study.
    digests
        Digests of files: what was tried is not tried again.

    Returns
    -------
    list
        Warnings.

    Raises
    ------
    UserError
        If a checkpoint is not of its architecture, with what is missing in it, unexpected or of another shape; or if LRP would
        explain another network.
    """
    warnings = []
    for name, model in config.models.items():
        if _is_checkpoint(config, model.weights):
            for dataset in model.datasets or config.datasets:
                found = _try(model, config.datasets[dataset], config, digests)
                warnings += [
                    f"model {name}, {layer}: {text}" for layer, facts in found.items() for text in facts["warnings"]
                ]
    for embedder in config.embedders.values():
        if embedder.source != "file" and _is_checkpoint(config, embedder.weights):
            facts = {"embedder": embedder.model_dump(), "weights": digests.of(str(embedder.weights))}
            looked_up(facts, embedder.architecture or "", digests, partial(_load_embedder, embedder))
    return list(dict.fromkeys(warnings))


def _is_checkpoint(config: Config, weights: str | None) -> bool:
    """Tell whether weights are a file that is there, and of the user's."""
    named = names_a_file(weights or "") and is_there(str(weights))
    return named and not is_of_the_world(config.results, str(weights))


def _try(model: Model, dataset: Dataset, config: Config, digests: Digests) -> Facts:
    there = is_there(dataset.images) and not is_of_the_world(config.results, dataset.images)
    images = None if not there else source_digest(dataset.images, digests) or digests.of(dataset.images)
    facts = {
        "tried": model.model_dump(exclude={"weights", "datasets"}),
        "weights": digests.of(model.weights),
        "dataset": dataset.model_dump(exclude={"images"}),
        "images": images,
    }
    return looked_up(facts, model.architecture, digests, partial(_try_model, model, dataset if there else None))


def _load_embedder(embedder: Embedder) -> Facts:
    from purelens.networks.embedders import load_embedder
    from purelens.networks.loading import CPU

    load_embedder(embedder.source, embedder.model_dump(exclude={"source", "patches"}), CPU)
    return {}


def _try_model(model: Model, dataset: Dataset | None) -> Facts:
    """Load the weights; find out which share of the relevance arrives at the pixels of a few images."""
    from purelens.circuits.pixel_heatmaps import conserved_shares
    from purelens.networks.baked import bake_weights
    from purelens.networks.loading import build_network
    from purelens.networks.same_outputs import check_same_in_a_batch
    from purelens.networks.subnetwork import LayerView

    logger.info("trying %s with %s", model.weights, model.architecture)
    network = build_network(model.architecture, model.options, model.weights, model.mean, model.std)
    images = list(_few_images(dataset)) if dataset is not None and model.attribution == LRP else []
    if dataset is not None:
        check_same_in_a_batch(network.module, dataset.size)
    found: dict[str, dict[str, Any]] = {}
    if images:
        network = replace(network, module=bake_weights(network.module))
        pixels = network.prepare(np.stack(images))
        for name, layer in model.layers.items():
            shares = conserved_shares(network, LayerView(name, layer.channels), pixels, NEURONS)
            found[name] = {"warnings": conservation_warnings(shares, LRP)}
    return found


def _few_images(dataset: Dataset) -> Iterator[np.ndarray]:
    """Decode some images, spread over the source; those that cannot be decoded are left out."""
    source = open_source(Path(dataset.images))
    geometry = Geometry(dataset.size, dataset.resize or dataset.size, dataset.interpolation, dataset.min_side)
    for index in np.unique(np.linspace(0, source.n_images - 1, IMAGES).astype(int)):
        try:
            yield geometry.apply(source.load(int(index)))
        except BadImageError:
            continue
