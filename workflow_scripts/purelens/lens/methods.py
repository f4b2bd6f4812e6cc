"""Name what the tables of the lens compare: replacements, ways to segment, and kinds of attack words."""

NOTHING_REPLACED = "none"
REPLACEMENTS = {
    NOTHING_REPLACED: "nothing is replaced",
    "all": "every effect by its mean",
    "large": "significant effects by their means",
    "small": "effects that are not significant by their means",
    "direction": "every effect by its projection on the neuron's direction",
    "words": "every effect by its projection on the sum of the neuron's words",
    "words_released": "the same, with sums that are not scaled to length 1, as in the released program",
}
"""What replaces the centered effects of all neurons of a layer at once (Gandelsman et al. 2024, section 4.2)."""

TOWARD, PUBLISHED, CENTER = "towards", "published", "center"
SEGMENTATIONS = {
    TOWARD: "neurons that push towards the class more than towards others, where each is above its own average",
    PUBLISHED: "neurons that push towards the class or away from it, as they are",
    CENTER: "a blob in the middle of every image",
}
"""What draws the heatmap of a segmentation."""

LENS, RANDOM = "lens", "random"
ATTACK_KINDS = (LENS, RANDOM)
"""Words of the neurons that push most towards the target class, and of as many others drawn at random."""
