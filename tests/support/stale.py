"""How many jobs of each rule follow from which, in the study of two layers of `tests/workflow/test_reruns.py`."""

WORLD = {"world_scenes": 3, "world_cnn": 1, "world_clip": 1}
PREPARE = {"dataset": 2, "model": 2}
REPORT = {"pages": 2, "explorer": 1}
AFTER_EXPLANATIONS = {"simulate": 2, "ablate": 2, **REPORT}
AFTER_CONCEPTS = {"explain": 2, **AFTER_EXPLANATIONS}
EMBEDDED_IMAGES = {"image_embeddings": 2, "concepts": 2, "monosemanticity": 2, **AFTER_CONCEPTS}
CONCEPTS = {**EMBEDDED_IMAGES, "concepts": 4}  # those of labels too
SCORES = {"monosemanticity": 2, "selectivity": 2}
ASSIGNMENTS = {"assignments": 2, **AFTER_CONCEPTS}
AFTER_EMBEDDINGS = {
    **ASSIGNMENTS,
    "virtual_neurons": 2,
    "interpretability": 2,
    "alignment": 2,
    **SCORES,
    "neuron_figures": 2,
    "layer_figures": 2,
}
AFTER_PATCHES = {"embeddings": 2, **AFTER_EMBEDDINGS}
AFTER_RELEVANCES = {"projections": 2, "polysemanticity": 2, **AFTER_EMBEDDINGS}
AFTER_NEURONS = {"relevances": 2, "patches": 2, **AFTER_PATCHES, **AFTER_RELEVANCES}
AFTER_ACTIVATIONS = {"network_dissection": 2, **AFTER_NEURONS}
AFTER_CLUSTERS = {
    "virtual_neurons": 2,
    "interpretability": 2,
    **SCORES,
    "neuron_figures": 2,
    "layer_figures": 2,
    **ASSIGNMENTS,
}
LENS_REPORT = {"lens_pages": 1, "explorer": 1}
LENS_TABLES = {"replacements": 1, "segmentation": 1, **LENS_REPORT}
AFTER_WORDS = {"replacements": 1, "discovery": 1, "attacks": 1, **LENS_REPORT}
AFTER_DIRECTIONS = {"words": 1, "segmentation": 1, "heatmaps": 1, **AFTER_WORDS}
AFTER_EFFECTS = {"directions": 1, **AFTER_DIRECTIONS}
LENS = {"effects": 1, "texts": 1, "classes": 1, **AFTER_EFFECTS}  # of one of the two sets of images
EVERYTHING = {**WORLD, **PREPARE, **CONCEPTS, **LENS, "activations": 2, **AFTER_ACTIVATIONS}


def one(jobs: dict[str, int]) -> dict[str, int]:
    """The same jobs of one of the two layers; there is one explorer of both."""
    return {name: -(-n // 2) for name, n in jobs.items()}


ONE_MODEL = one({"model": 2, "activations": 2, **AFTER_ACTIVATIONS})
ONE_DATASET = {"dataset": 1, **one(CONCEPTS), **ONE_MODEL}
