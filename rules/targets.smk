"""What a study makes."""


def all_layers() -> list[dict[str, str]]:
    """Names of dataset, model and layer of every layer of the study."""
    return [
        {"dataset": dataset, "model": name, "layer": layer}
        for name, model in settings.models.items()
        for dataset in model.datasets or settings.datasets
        for layer in model.layers
    ]


def all_clips() -> list[dict[str, str]]:
    """Names of dataset and embedding model of every CLIP of the lens."""
    return [
        {"dataset": dataset, "embedder": name}
        for name, model in settings.lens.models.items()
        for dataset in model.datasets or settings.datasets
    ]


def all_blocks() -> list[dict[str, str]]:
    """Names of dataset, embedding model and block of all neurons of the lens."""
    return [
        {**names, "block": str(block)}
        for names in all_clips()
        for block in settings.lens.models[names["embedder"]].blocks
    ]


def layer_targets(names: dict[str, str]) -> list[str]:
    """What a study makes of a layer."""
    judged = [
        "interpretability_summary",
        "alignment_summary",
        "monosemanticity_summary",
    ]
    kinds = judged if settings.patch_embedders else []
    kinds += ["polysemanticity_table"] if settings.virtual_neurons.joint else []
    layer = f"{names['model']}/{names['layer']}"
    kinds += ["planted_figure"] if layer in with_planted else []
    kinds += ["dictionaries"] if layer in with_dictionaries else []
    kinds += ["virtual_neurons"] if not settings.patch_embedders else []
    kinds += ["selectivity_summary"] if settings.evaluation.selectivity_neurons else []
    kinds += ["neuron_figures"] if settings.figures.neurons else []
    kinds += ["scores_summary", "ablation"] if explain.explainers else []
    figures = [
        path("layer_figures", **names, embedder=embedder)
        for embedder in settings.patch_embedders
    ]
    return [*(path(kind, **names) for kind in kinds), *figures]


def clip_targets(names: dict[str, str]) -> list[str]:
    """What a study makes of a CLIP of the lens."""
    kinds = ["discovery", "segmentation_summary", *lens.attack_kinds]
    return [path(kind, **names) for kind in kinds]


def targets() -> list[str]:
    """All files that a study makes, besides those that they are made from."""
    files = [path("explorer")] if study.has_explorer else []
    files += [file for names in all_layers() for file in layer_targets(names)]
    files += [path("replacements", **names) for names in all_blocks()]
    return files + [file for names in all_clips() for file in clip_targets(names)]


def layer_names() -> list[str]:
    """All layers of all models."""
    return sorted(
        {layer for model in settings.models.values() for layer in model.layers}
    )
