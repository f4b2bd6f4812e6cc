"""Name the path of every artifact. No other module knows a path below the results folder."""

from pathlib import Path, PurePosixPath

MEMORY = Path(".snakemake") / "purelens"
"""What is remembered from run to run, in the folder where Snakemake runs. It may be removed at any time."""

LAYER = "{dataset}/{model}/{layer}"
LENS = "{dataset}/lens/{embedder}"
LAYER_PAGES = f"layers/{LAYER}"
LENS_PAGES = "lens/{dataset}/{embedder}"
"""Folders of pages, relative to that of the explorer, which asks for their data by these names."""

PATH_TEMPLATES = {
    "scenes": "world/{part}.h5",
    "scene_cnn": "world/scene_cnn.safetensors",
    "scene_clip": "world/scene_clip.safetensors",
    "scene_cnn_accuracy": "world/scene_cnn.json",
    "scene_clip_accuracy": "world/scene_clip.json",
    "dataset": "{dataset}/images.h5",
    "model": "{dataset}/{model}/model.safetensors",
    "model_card": "{dataset}/{model}/model.json",
    "activations": f"{LAYER}/activations.h5",
    "relevances": f"{LAYER}/relevances.h5",
    "patches": f"{LAYER}/patches.h5",
    "embeddings": f"{LAYER}/embeddings/{{embedder}}.h5",
    "stage": "{folder}/{stage}.h5",
    "virtual_neurons": f"{LAYER}/virtual_neurons.h5",
    "polysemanticity": f"{LAYER}/polysemanticity.h5",
    "polysemanticity_table": f"{LAYER}/polysemanticity.csv",
    "dictionaries": f"{LAYER}/dictionaries.h5",
    "monosemanticity": f"{LAYER}/monosemanticity.csv",
    "monosemanticity_units": f"{LAYER}/monosemanticity_units.csv",
    "monosemanticity_summary": f"{LAYER}/monosemanticity_summary.csv",
    "selectivity": f"{LAYER}/selectivity.csv",
    "selectivity_summary": f"{LAYER}/selectivity_summary.csv",
    "planted": f"{LAYER}/planted.h5",
    "planted_table": f"{LAYER}/planted.csv",
    "planted_summary": f"{LAYER}/planted_summary.csv",
    "planted_figure": f"{LAYER}/figures/planted.png",
    "image_embeddings": "{dataset}/image_embeddings/{embedder}.h5",
    "concepts": "{dataset}/concepts/{concepts}.h5",
    "assignments": f"{LAYER}/assignments.h5",
    "iou": f"{LAYER}/iou.h5",
    "explanations": f"{LAYER}/explanations.h5",
    "scores": f"{LAYER}/scores.csv",
    "scores_summary": f"{LAYER}/scores_summary.csv",
    "scores_virtual": f"{LAYER}/scores_virtual.csv",
    "ablation": f"{LAYER}/ablation.csv",
    "ablation_summary": f"{LAYER}/ablation_summary.csv",
    "effects": f"{LENS}/{{block}}/effects.h5",
    "directions": f"{LENS}/{{block}}/directions.h5",
    "words": f"{LENS}/{{block}}/words.h5",
    "replacements": f"{LENS}/{{block}}/replacements.csv",
    "texts": f"{LENS}/texts.h5",
    "classes": f"{LENS}/classes.h5",
    "discovery": f"{LENS}/discovery.h5",
    "heatmaps": f"{LENS}/heatmaps.h5",
    "segmentation": f"{LENS}/segmentation.csv",
    "segmentation_summary": f"{LENS}/segmentation_summary.csv",
    "attacks": f"{LENS}/attacks.csv",
    "attack_prompts": f"{LENS}/attack_prompts.csv",
    "attack_images": f"{LENS}/attack_images.csv",
    "projections": f"{LAYER}/projections.h5",
    "interpretability": f"{LAYER}/interpretability.csv",
    "interpretability_summary": f"{LAYER}/interpretability_summary.csv",
    "alignment": f"{LAYER}/alignment.csv",
    "alignment_summary": f"{LAYER}/alignment_summary.csv",
    # folders are declared by their records, because Snakemake removes a declared folder before its job
    "neuron_figures": f"{LAYER}/figures/neurons.provenance.json",
    "neuron_gallery": f"{LAYER}/figures/neurons.html",
    "layer_figures": f"{LAYER}/figures/methods_{{embedder}}.png",
    "pages": f"report/{LAYER_PAGES}.provenance.json",
    "lens_pages": f"report/{LENS_PAGES}.provenance.json",
    "explorer": "report/index.html",
    "explorer_assets": "report/assets.provenance.json",
    "explorer_in_one_file": "report/explorer.html",
    "explorer_excerpt": "report/excerpt.html",
    "bench": "bench/bench.json",
    "bench_ratios": "bench/ratios.csv",
    "bench_growth": "bench/growth.csv",
    "bench_sizes": "bench/sizes.csv",
    "bench_figures": "bench/figures.provenance.json",
    "logs": "logs",
    "log": "logs/{name}.log",
    "benchmarks": "benchmarks",
    "benchmark": "benchmarks/{name}.tsv",
}


def artifact_path(results: str, artifact: str, **names: str) -> str:
    """Return the path of an artifact.

    Parameters
    ----------
    results
        The results folder.
    artifact
        A key of ``PATH_TEMPLATES``.
    names
        Values of the placeholders: ``dataset``, ``model``, ``layer``, ``embedder``, ... Those left out stay wildcards.

    Returns
    -------
    str
        The path, with the wildcards that are left.
    """
    template = PATH_TEMPLATES[artifact]
    for key, value in names.items():
        template = template.replace("{" + key + "}", value)
    return str(PurePosixPath(results) / template)


def shard_path(artifact: str, shard: str, n_shards: int) -> str:
    """Return the path of one shard of an artifact.

    Parameters
    ----------
    artifact
        Path of the artifact.
    shard
        Number of the shard, counted from 1, or a wildcard.
    n_shards
        How many there are.

    Returns
    -------
    str
        In the folder ``shards`` beside the artifact.
    """
    path = PurePosixPath(artifact)
    return str(path.parent / "shards" / f"{path.stem}.{shard}-of-{n_shards}.h5")


def is_shard(path: str | Path) -> bool:
    """Tell whether a path is that of a shard."""
    return Path(path).parent.name == "shards"


def is_of_the_world(results: str, path: str | Path) -> bool:
    """Tell whether a rule of the embedded world makes a file."""
    return Path(path).parent == Path(artifact_path(results, "scene_cnn")).parent


def is_log(results: Path, folder: Path) -> bool:
    """Tell whether a folder holds what Snakemake writes of jobs, not results."""
    return folder in (results / PATH_TEMPLATES["logs"], results / PATH_TEMPLATES["benchmarks"])
