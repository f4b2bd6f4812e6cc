"""The validated study, the paths of its artifacts, its targets, and the digests that decide what is stale."""

import atexit
import os
import re
import sys

sys.path.insert(0, str(Path(workflow.basedir) / "workflow_scripts"))

from purelens.workflow.preflight import (
    check_files,
    check_inputs_of_the_lens,
    check_lens_models,
    check_study,
    made_by_the_world,
)
from purelens.config.study import load_config
from purelens.reruns.code_digests import code_digest
from purelens.reruns.digests import Digests, architecture_digest, file_digest
from purelens.errors import UserError
from purelens.reruns.staleness import folder_digest, source_digest, sweep
from purelens.storage.paths import artifact_path

MEMORY = Path(".snakemake") / "purelens"  # what is kept from run to run; may be removed

digests = Digests(MEMORY / "digests.json")
atexit.register(digests.keep)

try:
    study = load_config(config)
    layers = check_study(study)
    clips = check_lens_models(study)
except UserError as error:
    sys.exit(f"purelens: {error}")


# What the names of a stage's files have at their end where the stage is several jobs.
SHARD = {
    stage: f".{{shard}}-of-{n_shards}" if n_shards > 1 else ""
    for stage, n_shards in study.shards
}


def part(stage):
    """Path of what a job of a stage makes: the artifact, or a part of it."""
    return part_of(path(stage), stage) if SHARD[stage] else path(stage)


def part_of(whole, stage):
    """Path of a part of an artifact."""
    head, name = os.path.split(whole.removesuffix(".h5"))
    return f"{head}/shards/{name}{SHARD[stage]}.h5"


def made(file):
    """Output of a job: an artifact stays until the new one is whole, a part goes when all are put together."""
    return temp(file) if "{shard}" in file else update(file)


def divided_stages():
    """Regular expression of the stages that are several jobs; matches nothing if there are none."""
    names = [stage for stage, n_shards in study.shards if n_shards > 1]
    return (
        "|".join(f"{name}/[^/]+" if name == "embeddings" else name for name in names)
        or "(?!)"
    )


def parts_of_stage(wildcards):
    """Artifacts of all parts of a stage."""
    stage = wildcards.stage.partition("/")[0]
    parts = part_of(path("stage", **dict(wildcards)), stage)
    return [
        parts.replace("{shard}", str(number))
        for number in range(1, getattr(study.shards, stage) + 1)
    ]


def shard_of(stage):
    """Param function: which part of a stage a job makes."""
    n_shards = getattr(study.shards, stage)
    return lambda wildcards: f"{wildcards.get('shard', 1)}/{n_shards}"


def path(artifact, **names):
    """Path of an artifact; what is not named stays a wildcard."""
    return artifact_path(study.results, artifact, **names)


def log_path(name):
    """Log of a rule's job: one file for each combination of its wildcards."""
    return path("log", name=with_shard(name))


def benchmark_path(name):
    """Time and memory of a rule's job: one file for each combination of its wildcards."""
    return path("benchmark", name=with_shard(name))


def with_shard(name):
    """Name of a file of a job, which begins with its rule."""
    stage = name.split("/")[0]
    return f"{name}{SHARD.get(stage, '')}"


def one_of(names):
    """Regular expression that matches these names and nothing else."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def layer_names():
    """All layers of all models."""
    return sorted({layer for model in study.models.values() for layer in model.layers})


def model_of(wildcards):
    """Configuration of the model of a job."""
    return study.models[wildcards.model]


def layer_of(wildcards):
    """Configuration of the layer of a job."""
    return study.models[wildcards.model].layers[wildcards.layer]


def lower_layers_of(wildcards):
    """Lower layers of the layer of a job, the default resolved."""
    return list(layers[wildcards.model, wildcards.layer].lower_layers)


def file_input(value):
    """A path as an input of a rule if it is a file; folders and names of published weights are params."""
    return [value] if Path(value).is_file() or made_by_the_world(study, value) else []


def existing(files):
    """Those of some files that are there; what is missing is told before the first job."""
    return [found for file in files for found in file_input(file)]


def embedding_paths(wildcards):
    """Artifacts of all embedders for the layer of a job."""
    return [
        path("embeddings", **dict(wildcards), embedder=name)
        for name in study.patch_embedders
    ]


def explainers():
    """Sets of concepts that explain; one of all names only simulates."""
    return [name for name, c in study.explain.concepts.items() if c.source != "all"]


def concept_paths(wildcards, names):
    """Artifacts of sets of concepts for the dataset of a job."""
    return [
        path("concepts", dataset=wildcards.dataset, concepts=name) for name in names
    ]


def explaining_concepts(wildcards):
    """Artifacts of the sets of concepts that explain."""
    return concept_paths(wildcards, explainers())


def simulating_concepts(wildcards):
    """Artifact of the set of concepts that scores explanations."""
    chosen = study.explain.simulator or next(iter(study.explain.concepts))
    return concept_paths(wildcards, [chosen])[0]


def other_concepts(wildcards):
    """Artifacts whose names a set of all names takes."""
    takes_all = study.explain.concepts[wildcards.concepts].source == "all"
    return explaining_concepts(wildcards) if takes_all else []


def elsewhere_of(concepts):
    """Files of explanations whose names a set of all names takes."""
    takes_all = study.explain.concepts[concepts].source == "all"
    return list(study.explain.elsewhere.values()) if takes_all else []


def concept_files(concepts):
    """Files that a set of concepts is read from."""
    chosen = study.explain.concepts[concepts]
    files = [chosen.texts, chosen.text_embeddings, chosen.superclasses]
    return existing([file for file in files if file] + elsewhere_of(concepts))


def embedder_settings(name):
    """What decides what an embedder sees."""
    return study.embedders[name].model_dump(exclude={"patches"})


def embedder_file(wildcards):
    """Checkpoint of the embedder of a job, if it is a file."""
    return file_input(study.embedders[wildcards.embedder].weights or "")


def embedder_digest(wildcards):
    """Digest of the architecture of the embedder of a job."""
    return architecture_digest(study.embedders[wildcards.embedder].architecture or "")


def embedder_of(wildcards):
    """Configuration of the embedder that knows the texts of a set of concepts; None for labels."""
    name = study.explain.concepts[wildcards.concepts].embedder
    return embedder_settings(name) if name else None


def concept_embeddings(wildcards):
    """Artifact of the images' embeddings by the embedder of a set of concepts; none for labels."""
    name = study.explain.concepts[wildcards.concepts].embedder
    return (
        [path("image_embeddings", dataset=wildcards.dataset, embedder=name)]
        if name
        else []
    )


def gates_of(wildcards):
    """Artifact that says which virtual neuron is at work, if virtual neurons are explained."""
    return [path("gates", **dict(wildcards))] if study.explain.virtual_neurons else []


def iou_of(wildcards):
    """Artifact of Network Dissection, if it is wanted."""
    return [path("iou", **dict(wildcards))] if study.explain.network_dissection else []


def of_explanations(artifact, wildcards):
    """Artifact about the explanations of a layer, if there are any."""
    return [path(artifact, **dict(wildcards))] if explainers() else []


def of_blocks(artifact, wildcards):
    """Artifacts of all blocks of a CLIP that are under the lens."""
    return [
        path(artifact, **dict(wildcards), block=str(block))
        for block in study.lens.models[wildcards.embedder].blocks
    ]


def attack_settings(without):
    """Settings of the attacks, by name."""
    return {
        name: attack.model_dump(exclude=without)
        for name, attack in study.lens.attacks.items()
    }


def digests_of_attacks():
    """Digests of the images that attacks are scored on."""
    sources = [attack.images for attack in study.lens.attacks.values()]
    return [
        source_digest(source, digests) or digests.of(source)
        for source in sources
        if source
    ]


def digest_of_pipeline():
    """Digest of the pipeline that draws, if there is one."""
    pipeline = study.lens.pipeline
    return folder_digest(pipeline, digests) if pipeline else None


def all_lenses():
    """Names of dataset and embedder of every CLIP under the lens."""
    return [
        {"dataset": dataset, "embedder": name}
        for name, model in study.lens.models.items()
        for dataset in model.datasets or study.datasets
    ]


def all_blocks():
    """Names of dataset, embedder and block of all neurons under the lens."""
    return [
        {**names, "block": str(block)}
        for names in all_lenses()
        for block in study.lens.models[names["embedder"]].blocks
    ]


def all_layers():
    """Names of dataset, model and layer of every layer that is studied."""
    return [
        {"dataset": dataset, "model": name, "layer": layer}
        for name, model in study.models.items()
        for dataset in model.datasets or study.datasets
        for layer in model.layers
    ]


def all_pages():
    """What the explorer opens: the pages of every layer."""
    return [path("pages", **names) for names in all_layers()]


def all_lens_pages():
    """What the explorer opens of CLIPs under the lens."""
    return [path("lens_pages", **names) for names in all_lenses()]


def attack_tables(wildcards):
    """What is made of attacks on a CLIP: words, sentences, and scores of images."""
    return [path(kind, **dict(wildcards)) for kind in attack_kinds()]


def attack_kinds():
    """Tables about attacks that a study makes."""
    attacks = study.lens.attacks.values()
    if not attacks:
        return []
    scored = study.lens.pipeline or any(attack.images for attack in attacks)
    return ["attacks", "attack_prompts", *(["attack_images"] if scored else [])]


def targets():
    """What a study makes."""
    made = [path("explorer")] if study.report.explorer else []
    for names in all_layers():
        kinds = ["interpretability_summary", "alignment_summary"]
        kinds += ["neuron_figures"] if study.figures.neurons else []
        kinds += ["scores_summary", "ablation"] if explainers() else []
        made += [path(kind, **names) for kind in kinds]
        made += [
            path("layer_figures", **names, embedder=embedder)
            for embedder in study.patch_embedders
        ]
    made += [path("replacements", **names) for names in all_blocks()]
    made += lens_targets()
    return made


def lens_targets():
    """What a study makes of each CLIP under the lens."""
    kinds = ["discovery", "segmentation_summary", *attack_kinds()]
    return [path(kind, **names) for names in all_lenses() for kind in kinds]


def folder_digest(folder):
    """Digest of all files of a folder of this workflow."""
    root = Path(workflow.basedir) / folder
    return digests.of_all(root, sorted(file.name for file in root.iterdir()))


def check_inputs():
    """Stop before the first job if images or weights are missing, or images too few."""
    try:
        check_files(study)
        check_inputs_of_the_lens(study)
        sweep(freshness, study.results)
    except UserError as error:
        sys.exit(f"purelens: {error}")
