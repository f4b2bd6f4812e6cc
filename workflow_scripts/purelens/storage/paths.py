"""Where every artifact lies: the only place that knows."""

from pathlib import PurePosixPath

TEMPLATES = {
    "scenes": "world/{part}.h5",
    "scene_cnn": "world/scene_cnn.safetensors",
    "scene_clip": "world/scene_clip.safetensors",
    "scene_cnn_accuracy": "world/scene_cnn.json",
    "scene_clip_accuracy": "world/scene_clip.json",
    "dataset": "{dataset}/images.h5",
    "model": "{dataset}/{model}/model.safetensors",
    "model_card": "{dataset}/{model}/model.json",
    "activations": "{dataset}/{model}/{layer}/activations.h5",
    "relevances": "{dataset}/{model}/{layer}/relevances.h5",
    "patches": "{dataset}/{model}/{layer}/patches.h5",
    "embeddings": "{dataset}/{model}/{layer}/embeddings/{embedder}.h5",
    "stage": "{folder}/{stage}.h5",
    "virtual_neurons": "{dataset}/{model}/{layer}/virtual_neurons.h5",
    "image_embeddings": "{dataset}/image_embeddings/{embedder}.h5",
    "concepts": "{dataset}/concepts/{concepts}.h5",
    "gates": "{dataset}/{model}/{layer}/gates.h5",
    "iou": "{dataset}/{model}/{layer}/iou.h5",
    "explanations": "{dataset}/{model}/{layer}/explanations.h5",
    "scores": "{dataset}/{model}/{layer}/scores.csv",
    "scores_summary": "{dataset}/{model}/{layer}/scores_summary.csv",
    "scores_virtual": "{dataset}/{model}/{layer}/scores_virtual.csv",
    "ablation": "{dataset}/{model}/{layer}/ablation.csv",
    "ablation_summary": "{dataset}/{model}/{layer}/ablation_summary.csv",
    "effects": "{dataset}/lens/{embedder}/{block}/effects.h5",
    "directions": "{dataset}/lens/{embedder}/{block}/directions.h5",
    "words": "{dataset}/lens/{embedder}/{block}/words.h5",
    "replacements": "{dataset}/lens/{embedder}/{block}/replacements.csv",
    "texts": "{dataset}/lens/{embedder}/texts.h5",
    "classes": "{dataset}/lens/{embedder}/classes.h5",
    "discovery": "{dataset}/lens/{embedder}/discovery.h5",
    "heatmaps": "{dataset}/lens/{embedder}/heatmaps.h5",
    "lens_pages": "report/lens/{dataset}/{embedder}.provenance.json",  # of the folder
    "segmentation": "{dataset}/lens/{embedder}/segmentation.csv",
    "segmentation_summary": "{dataset}/lens/{embedder}/segmentation_summary.csv",
    "attacks": "{dataset}/lens/{embedder}/attacks.csv",
    "attack_prompts": "{dataset}/lens/{embedder}/attack_prompts.csv",
    "attack_images": "{dataset}/lens/{embedder}/attack_images.csv",
    "projections": "{dataset}/{model}/{layer}/projections.h5",
    "interpretability": "{dataset}/{model}/{layer}/interpretability.csv",
    "interpretability_summary": "{dataset}/{model}/{layer}/interpretability_summary.csv",
    "alignment": "{dataset}/{model}/{layer}/alignment.csv",
    "alignment_summary": "{dataset}/{model}/{layer}/alignment_summary.csv",
    "neuron_figures": "{dataset}/{model}/{layer}/figures/neurons.provenance.json",  # of the folder
    "neuron_gallery": "{dataset}/{model}/{layer}/figures/neurons.html",
    "layer_figures": "{dataset}/{model}/{layer}/figures/methods_{embedder}.png",
    "pages": "report/layers/{dataset}/{model}/{layer}.provenance.json",  # of the folder
    "explorer": "report/index.html",
    "explorer_assets": "report/assets.provenance.json",  # of the folder
    "explorer_in_one_file": "report/explorer.html",
    "explorer_excerpt": "report/excerpt.html",
    "bench": "bench/bench.json",
    "bench_ratios": "bench/ratios.csv",
    "bench_growth": "bench/growth.csv",
    "bench_sizes": "bench/sizes.csv",
    "bench_figures": "bench/figures.provenance.json",
    "log": "logs/{name}.log",
    "benchmark": "benchmarks/{name}.tsv",
}


def artifact_path(results: str, artifact: str, **names: str) -> str:
    """Return the path of an artifact; names left out stay as wildcards.

    Parameters
    ----------
    results
        The results folder.
    artifact
        A key of ``TEMPLATES``.
    names
        Values of the placeholders: ``dataset``, ``model``, ``layer``, ``embedder``, ...
    """
    template = TEMPLATES[artifact]
    for key, value in names.items():
        template = template.replace("{" + key + "}", value)
    return str(PurePosixPath(results) / template)
