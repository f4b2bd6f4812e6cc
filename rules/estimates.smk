"""What jobs need: for a cluster, and for plans."""

from functools import cache

from purelens.workflow.estimates import (
    Sizes,
    artifact_bytes,
    measured_seconds,
    memory_mb,
    minutes,
)
from purelens.reruns.staleness import planned
from purelens.data.images import open_source


@cache
def n_images(dataset):
    """Number of images of a dataset, as far as it is known."""
    images = study.datasets[dataset].images
    if made_by_the_world(study, images):
        return study.world.probe_scenes
    return open_source(images).n_images if Path(images).exists() else 0


def sizes_of(rule, wildcards):
    """The shapes that decide what a job needs."""
    names = dict(wildcards)
    n_parts = getattr(study.shards, rule, 1)
    if names.get("embedder") in clips and "layer" not in names:
        return lens_sizes(names, n_parts)
    if "layer" not in names:
        dataset = names.get("dataset", next(iter(study.datasets)))
        return Sizes(n_images(dataset), study.datasets[dataset].size)
    facts = layers[names["model"], names["layer"]]
    return Sizes(
        images=n_images(names["dataset"]),
        side=study.datasets[names["dataset"]].size,
        neurons=facts.n_neurons,
        selected=facts.n_selected,
        references=study.references,
        lower_neurons=sum(facts.lower_layers.values()),
        real_bytes=2 if study.storage == "half" else 4,
        heat_size=study.patches.heat_size,
        n_clusters=len(study.virtual_neurons.n_clusters),
        methods=len(facts.lower_layers) + len(study.patch_embedders) + 2,
        parts=n_parts,
    )


def lens_sizes(names, n_parts):
    """The shapes of a CLIP's neurons under the lens, with the heads above their block, or above the lowest."""
    clip = clips[names["embedder"]]
    n_above = clip["layers"] - 1 - int(names.get("block", 0))
    return Sizes(
        images=n_images(names["dataset"]),
        side=224,
        neurons=clip["neurons"],
        selected=clip["neurons"],
        references=study.lens.top_images,
        components=clip["components"],
        heads=n_above * clip["heads"],
        n_clusters=max(study.lens.n_parts),
        words=study.lens.words,
        real_bytes=2 if study.storage == "half" else 4,
        parts=n_parts,
    )


def memory(rule):
    """Resource function: megabytes that a job may use, more with each attempt."""
    return (
        lambda wildcards, attempt: memory_mb(rule, sizes_of(rule, wildcards)) * attempt
    )


def runtime(rule):
    """Resource function: minutes that a job may take, more with each attempt."""
    return lambda wildcards, attempt: minutes(rule, sizes_of(rule, wildcards)) * attempt


def planned_jobs():
    """What a run of the whole study would do."""
    return [job_of(step) for step in planned(freshness, find_step, targets())]


def job_of(step):
    """A line of the plan."""
    wildcards = Wildcards(fromdict=dict(step.wildcards))
    sizes = sizes_of(step.rule, wildcards)
    changes = freshness.changes(step.outputs[0])
    exists = all(Path(output).exists() for output in step.outputs)
    return {
        "rule": step.rule,
        "reasons": changes or (["input"] if exists else ["missing"]),
        "bytes": artifact_bytes(step.rule, sizes),
        "memory_mb": memory_mb(step.rule, sizes),
        "seconds": measured_seconds(step.benchmark),
    }
