"""Answer what the rules ask of a study: paths of artifacts, settings of a job, and the resources it needs."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from purelens.circuits.selection import neuron_ids, neuron_ranges
from purelens.config.base import is_there
from purelens.config.inputs import Dataset, Layer, Model
from purelens.config.study import Config, load_config
from purelens.data.sources import open_source
from purelens.reruns.digests import Digests, architecture_digest, folder_digest, source_digest
from purelens.storage.paths import artifact_path, is_of_the_world, shard_path
from purelens.storage.shards import NO_SHARDS
from purelens.workflow.estimates import Sizes, memory_mb, minutes
from purelens.workflow.preflight import LayerFacts, check_lens_models, check_study
from purelens.workflow.trial import try_networks

NOTHING = "(?!)"
"""A regular expression that matches nothing."""


class Names(Protocol):
    """The wildcards of a job: names of a dataset, a model, a layer, ..."""

    def __getattr__(self, name: str) -> str: ...

    def items(self) -> Iterable[tuple[str, str]]:
        """Return names and values."""


def open_study(values: Mapping[str, Any], digests: Digests) -> "Study":
    """Validate the configuration of a run, and check the networks that it names.

    Parameters
    ----------
    values
        What Snakemake read.
    digests
        Digests of files.

    Raises
    ------
    UserError
        Naming the key that is wrong, and what would be valid.
    """
    config = load_config(dict(values))
    layers, clips = check_study(config, digests), check_lens_models(config, digests)
    warnings = [*try_networks(config, digests)]
    if config.models and not config.patch_embedders:
        warnings.append(
            "embedders: none embeds patches, so nothing judges the virtual neurons, and there is no explorer"
        )
    return Study(config, layers, clips, digests, warnings)


@dataclass(frozen=True)
class Study:
    """A study that was checked.

    Attributes
    ----------
    config
        Its configuration.
    layers
        Sizes of each (model, layer).
    clips
        Sizes of each CLIP of the lens.
    digests
        Digests of files.
    warnings
        What is worth knowing before the first job.
    """

    config: Config
    layers: Mapping[tuple[str, str], LayerFacts]
    clips: Mapping[str, Mapping[str, int]]
    digests: Digests
    warnings: Sequence[str] = ()

    # paths

    def path(self, artifact: str, **names: str) -> str:
        """Return the path of an artifact; names that are missing stay wildcards."""
        return artifact_path(self.config.results, artifact, **names)

    def path_from(self, page: str, artifact: str) -> str:
        """Return the path of an artifact relative to the folder of a page, which no results folder decides."""
        return os.path.relpath(self.path(artifact), Path(self.path(page)).parent)

    def job_path(self, artifact: str) -> str:
        """Return the path of what a job of a stage makes: the artifact, or a shard of it."""
        n_shards = self.n_shards(artifact)
        return self.path(artifact) if n_shards == 1 else shard_path(self.path(artifact), "{shard}", n_shards)

    def log_name(self, name: str) -> str:
        """Return the name of a job's log, which begins with its rule; shards have a log each."""
        n_shards = self.n_shards(name.split("/")[0])
        return name if n_shards == 1 else f"{name}.{{shard}}-of-{n_shards}"

    def n_shards(self, stage: str) -> int:
        """Return the number of jobs that share the work of a stage."""
        return getattr(self.config.shards, stage, 1)

    def shard_of(self, stage: str) -> Callable[[Names], str]:
        """Return a param function: which shard of a stage a job makes."""
        n_shards = self.n_shards(stage)
        return lambda w: NO_SHARDS if n_shards == 1 else f"{w.shard}/{n_shards}"

    def shards_of(self, w: Names) -> list[str]:
        """List the paths of all shards of a stage of a layer."""
        n_shards = self.n_shards(w.stage.partition("/")[0])
        return [shard_path(self.path("stage", **dict(w.items())), str(n), n_shards) for n in range(1, n_shards + 1)]

    def sharded_stages(self) -> str:
        """Return a regular expression of the stages that several jobs share."""
        names = [stage for stage, n_shards in self.config.shards if n_shards > 1]
        return "|".join(f"{name}/[^/]+" if name == "embeddings" else name for name in names) or NOTHING

    @property
    def has_explorer(self) -> bool:
        """Whether the explorer is made: its pages compare neurons by an embedding model."""
        judged = bool(self.config.patch_embedders) or not self.config.models
        return self.config.report.explorer and judged

    # settings of a job

    def dataset(self, w: Names) -> Dataset:
        """Return the settings of the dataset of a job."""
        return self.config.datasets[w.dataset]

    def model(self, w: Names) -> Model:
        """Return the settings of the model of a job."""
        return self.config.models[w.model]

    def layer(self, w: Names) -> Layer:
        """Return the settings of the layer of a job."""
        return self.config.models[w.model].layers[w.layer]

    def neurons(self, w: Names) -> str | list[int | str]:
        """Return the neurons of the layer of a job, written in one way only."""
        n_neurons = self.layers[w.model, w.layer].n_neurons
        return neuron_ranges(neuron_ids(self.layer(w).neurons, n_neurons, w.layer), n_neurons)

    def layer_view(self, w: Names) -> dict[str, Any]:
        """Return the fields of the `purelens.networks.subnetwork.LayerView` of a job."""
        layer = self.layer(w)
        return {"name": w.layer, "channels": layer.channels, "lower_channels": layer.lower_channels}

    def lower_layers(self, w: Names) -> list[str]:
        """List the lower layers of the layer of a job, the default filled in."""
        return list(self.layers[w.model, w.layer].lower_layers)

    def inner_layers(self, w: Names) -> list[str]:
        """List the lower layers of the layer of a job that lie inside a residual block."""
        return list(self.layers[w.model, w.layer].inner_layers)

    def embedder(self, name: str) -> dict[str, Any]:
        """Return the settings of an embedding model that decide its embeddings."""
        return self.config.embedders[name].model_dump(exclude={"patches"})

    def files(self, *values: str | None) -> list[str]:
        """Select the inputs among values of the study: folders and names of published weights are params."""
        results = self.config.results
        return [
            value
            for value in values
            if value and ((is_there(value) and Path(value).is_file()) or is_of_the_world(results, value))
        ]

    def embedder_file(self, w: Names) -> list[str]:
        """List the checkpoint of the embedding model of a job, if it is a file."""
        return self.files(self.config.embedders[w.embedder].weights)

    def embedder_watch(self, w: Names) -> dict[str, str | None]:
        """Digest the architecture of the embedding model of a job, if it is a file."""
        return {"architecture": self.architecture_digest(self.config.embedders[w.embedder].architecture)}

    def architecture_digest(self, architecture: str | None) -> str | None:
        """Digest the file or folder that an architecture names."""
        return architecture_digest(architecture or "", self.digests)

    def images_digest(self, images: str) -> str | None:
        """Digest the images of a folder or CSV source; other sources are inputs."""
        return source_digest(images, self.digests)

    def folder_digest(self, folder: str | None) -> str | None:
        """Digest the files of a folder; None without one."""
        return folder_digest(folder, self.digests) if folder else None

    # resources

    def memory(self, rule: str) -> Callable[[Names, int], int]:
        """Return a resource function: megabytes that a job may use, more with each attempt."""
        return lambda wildcards, attempt: memory_mb(rule, self.sizes(rule, dict(wildcards.items()))) * attempt

    def runtime(self, rule: str) -> Callable[[Names, int], int]:
        """Return a resource function: minutes that a job may take, more with each attempt."""
        return lambda wildcards, attempt: minutes(rule, self.sizes(rule, dict(wildcards.items()))) * attempt

    def sizes(self, rule: str, names: Mapping[str, str]) -> Sizes:
        """Collect the shapes that decide what a job of a rule needs, from its wildcards."""
        if "layer" not in names and names.get("embedder") in self.clips:
            return self._clip_sizes(rule, names)
        dataset = names.get("dataset", next(iter(self.config.datasets)))
        images, side = self._n_images(dataset), self.config.datasets[dataset].size
        if "layer" not in names:
            return Sizes(images, side)
        facts = self.layers[names["model"], names["layer"]]
        return Sizes(
            images=images,
            side=side,
            neurons=facts.n_neurons,
            selected=min(facts.n_selected, self.config.evaluation.selectivity_neurons)
            if rule == "selectivity"
            else facts.n_selected,
            references=self.config.references,
            lower_neurons=sum(facts.lower_layers.values()),
            joint=int(self.config.virtual_neurons.joint),
            real_bytes=self._real_bytes,
            heat_size=self.config.patches.heat_size,
            n_clusters=len(self.config.virtual_neurons.n_clusters),
            methods=len(facts.lower_layers)
            + len(self.config.patch_embedders)
            + 5,  # at most: joint, activations, random and two dictionaries
            latents=self.config.dictionaries.latents,
            shards=self.n_shards(rule),
        )

    def _clip_sizes(self, rule: str, names: Mapping[str, str]) -> Sizes:
        """Collect the shapes of a CLIP, with the heads above its block, or above its lowest block."""
        clip = self.clips[names["embedder"]]
        n_above = clip["layers"] - 1 - int(names.get("block", 0))
        return Sizes(
            images=self._n_images(names["dataset"]),
            side=224,
            neurons=clip["neurons"],
            selected=clip["neurons"],
            references=self.config.lens.top_images,
            components=clip["components"],
            heads=n_above * clip["heads"],
            n_clusters=max(self.config.lens.n_directions),
            words=self.config.lens.words,
            real_bytes=self._real_bytes,
            shards=self.n_shards(rule),
        )

    @property
    def _real_bytes(self) -> int:
        return 2 if self.config.storage == "half" else 4

    def _n_images(self, dataset: str) -> int:
        """Count the images of a dataset, as far as they are known."""
        images = self.config.datasets[dataset].images
        if is_of_the_world(self.config.results, images):
            return self.config.world.probe_scenes
        return _count_images(images) if is_there(images) else 0


@cache
def _count_images(images: str) -> int:
    return open_source(images).n_images


def one_of(names: Iterable[object]) -> str:
    """Return a regular expression that matches these names and nothing else."""
    return "|".join(re.escape(str(name)) for name in names) or NOTHING
