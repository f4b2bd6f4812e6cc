"""List the variables of every kind of artifact, with their dimensions, types and units."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """A variable of a schema.

    Attributes
    ----------
    dims
        Names of its dimensions.
    dtype
        NumPy type, or ``str``.
    description, units
        What is stored with it.
    optional
        Whether artifacts may lack it.
    rounds
        Whether it may be stored in 16 bits (config key ``storage``).
    compressed
        Whether it is compressed.
    """

    dims: tuple[str, ...]
    dtype: str
    description: str
    units: str = "1"
    optional: bool = False
    rounds: bool = False
    compressed: bool = False


@dataclass(frozen=True)
class Schema:
    """The contents of a kind of artifact.

    Attributes
    ----------
    version
        Changes with the layout: artifacts of another version are remade.
    rule
        The rule that makes it.
    variables
        Its variables by name. A name that ends in ``/*`` is a group with a variable for each lower layer.
    """

    version: int
    rule: str
    variables: dict[str, Variable]


CHECKSUM = Variable((), "u4", "CRC-32 of the variable of this name, for each index of its leading dimensions")

HALF, SINGLE = "half", "single"
"""How large tables of real numbers are stored: in 16 or in 32 bits."""

ATTRIBUTED = {
    "lower_layer_name": Variable(("lower_layer",), "str", "names of the lower layers"),
    "inner": Variable(("lower_layer",), "u1", "1 where a lower layer lies inside a block, where no shortcut leads"),
    "relevance/*": Variable(
        ("neuron", "reference", "lower_neuron"),
        "f4",
        "relevance of each neuron of the lower layer to the neuron, on the reference",
        "share of the total",
        rounds=True,
    ),
    "joined/*": Variable(
        ("lower_neuron",),
        "i4",
        "neuron of the layer that an identity shortcut joins it to; -1: none",
        optional=True,
    ),
    "joined_share/*": Variable(
        ("neuron", "reference"),
        "f4",
        "share of the relevance of joined lower neurons, which is left out",
        optional=True,
    ),
    "weighted_activation": Variable(
        ("neuron", "reference", "layer_neuron"),
        "f4",
        "activation of each neuron of the layer, averaged over positions with the neuron's map as weight",
        "activation",
        optional=True,
        rounds=True,
    ),
}
"""Tables over units and their references, of ``relevances`` and ``planted``."""

SCHEMAS = {
    "scenes": Schema(
        2,
        "world_scenes",
        {
            "pixels": Variable(("image", "row", "column", "color"), "u1", "the drawn scenes", "0-255"),
            "label": Variable(("image",), "i4", "class of the scene"),
            "class_name": Variable(("class",), "str", "names of the classes"),
            "path": Variable(("image",), "str", "name of the scene"),
            "concept": Variable(("image", "concept_name"), "u1", "1 where a concept is in the scene"),
            "concept_label": Variable(("concept_name",), "str", "names of the concepts"),
            "caption": Variable(("image",), "str", "a sentence that names every attribute"),
            "mask": Variable(("image", "row", "column"), "u1", "1 on the object"),
        },
    ),
    "dataset": Schema(
        2,
        "dataset",
        {
            "pixels": Variable(
                ("image", "row", "column", "color"), "u1", "center crops of the images, as the models see them", "0-255"
            ),
            "label": Variable(("image",), "i4", "class of the image, -1 where it has none"),
            "path": Variable(("image",), "str", "path of the image in its source"),
            "source_index": Variable(("image",), "i8", "position in the source, rejected images counted"),
            "class_name": Variable(("class",), "str", "names of the classes"),
            "rejected_path": Variable(("rejected",), "str", "rejected images"),
            "rejected_reason": Variable(("rejected",), "str", "why they were rejected"),
            "concept": Variable(("image", "concept_name"), "u1", "1 where a concept is in the image", optional=True),
            "concept_label": Variable(("concept_name",), "str", "names of the concepts", optional=True),
            "caption": Variable(("image",), "str", "a sentence about the image", optional=True),
            "mask": Variable(("image", "row", "column"), "u1", "1 on the object of the image", optional=True),
        },
    ),
    "activations": Schema(
        2,
        "activations",
        {
            "mean": Variable(("image", "neuron"), "f4", "mean activation over positions", "activation", rounds=True),
            "max": Variable(("image", "neuron"), "f4", "largest activation over positions", "activation", rounds=True),
            "reference_id": Variable(
                ("neuron", "reference"), "i4", "image of each reference, best first, -1 where there is none"
            ),
            "reference_value": Variable(("neuron", "reference"), "f4", "its largest activation", "activation"),
            "reference_position": Variable(
                ("neuron", "reference"), "i4", "position of that activation, counted along rows, -1 where there is none"
            ),
        },
    ),
    "relevances": Schema(
        3,
        "relevances",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            **ATTRIBUTED,
        },
    ),
    "patches": Schema(
        2,
        "patches",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            "box": Variable(
                ("neuron", "reference", "edge"), "i2", "top, left, bottom, right (ends excluded), -1: none", "pixels"
            ),
            "heat": Variable(
                ("neuron", "reference", "heat_row", "heat_column"),
                "u1",
                "heatmap of the whole image",
                "1/255 of maximum",
            ),
            "conserved": Variable(
                ("neuron", "reference"), "f4", "relevance at the input as a share of the seed; NaN: none"
            ),
        },
    ),
    "embeddings": Schema(
        2,
        "embeddings",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            "embedding": Variable(
                ("neuron", "reference", "component"), "f4", "embedding of the patch, 0 where there is none", rounds=True
            ),
        },
    ),
    "virtual_neurons": Schema(
        1,
        "virtual_neurons",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            "method": Variable(("method_number",), "str", "method: what was clustered"),
            "label": Variable(
                ("method_number", "n_clusters", "neuron", "reference"),
                "i1",
                "virtual neuron of the reference, -1: none",
            ),
            "inertia": Variable(
                ("method_number", "n_clusters", "neuron"), "f8", "sum of squared distances to the centroids"
            ),
            "silhouette": Variable(
                ("method_number", "n_clusters", "neuron"), "f8", "mean silhouette of the references"
            ),
            "circuit/*": Variable(
                ("n_clusters", "neuron", "virtual_neuron", "lower_neuron"),
                "f4",
                "mean relevance of the lower layer to each virtual neuron; NaN where there is none",
                rounds=True,
                compressed=True,
            ),
        },
    ),
    "polysemanticity": Schema(
        1,
        "polysemanticity",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            "separation": Variable(
                ("neuron",),
                "f8",
                "distance of the two sides of the best split, as predicted; NaN: not tested",
                "standard deviations",
            ),
            "p_value": Variable(
                ("neuron",), "f8", "probability of at least this separation in one group; NaN: not tested"
            ),
            "polysemantic": Variable(
                ("neuron",), "u1", "1 where the neuron is polysemantic at the false discovery rate"
            ),
            "n_virtual_neurons": Variable(
                ("neuron",), "i4", "number of virtual neurons; 1: not split; 0: no references"
            ),
            "label": Variable(("neuron", "reference"), "i1", "virtual neuron of the reference, -1: none"),
            "circuit/*": Variable(
                ("neuron", "virtual_neuron", "lower_neuron"),
                "f4",
                "mean relevance of the lower layer to each virtual neuron; NaN where there is none",
                rounds=True,
                compressed=True,
            ),
        },
    ),
    "planted": Schema(
        1,
        "planted",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            "kind": Variable(("neuron",), "str", "how the planted neuron is made"),
            "one_concept": Variable(("neuron",), "u1", "1 where each parent has references of one class alone"),
            "overlap": Variable(("neuron",), "f8", "common share of the classes of two parents; NaN without labels"),
            "parent": Variable(("neuron", "parent_number"), "i4", "neurons of the layer that are summed; -1: none"),
            "weight": Variable(("neuron", "parent_number"), "f4", "their weights", "share of the largest activation"),
            "truth": Variable(("neuron", "reference"), "i1", "parent that the reference comes from, -1: none"),
            **ATTRIBUTED,
        },
    ),
    "image_embeddings": Schema(
        1,
        "image_embeddings",
        {"embedding": Variable(("image", "component"), "f4", "embedding of the whole image", rounds=True)},
    ),
    "concepts": Schema(
        1,
        "concepts",
        {
            "concept_label": Variable(("concept",), "str", "names of the concepts"),
            "value": Variable(("image", "concept"), "f4", "1 where a label is true; cosine of the image with a text"),
            "kept": Variable(("concept",), "u1", "1 where the concept passes the filter"),
            "split": Variable(("image",), "u1", "0: training, 1: validation, 2: test"),
        },
    ),
    "assignments": Schema(
        1,
        "assignments",
        {
            "virtual_neuron": Variable(
                ("neuron", "image"),
                "i1",
                "virtual neuron that is active: the one with the nearest circuit; -1 where the neuron is not active",
            ),
        },
    ),
    "iou": Schema(
        1,
        "network_dissection",
        {
            "concept_label": Variable(("concept",), "str", "names of the concepts"),
            "iou": Variable(
                ("neuron", "concept"),
                "f8",
                "intersection over union of the neuron's active positions and the concept's mask",
            ),
        },
    ),
    "explanations": Schema(
        2,
        "explanations",
        {
            "method": Variable(("method_number",), "str", "method of the explanation"),
            "concept_label": Variable(("concept",), "str", "names that occur in explanations"),
            "unit_neuron": Variable(("unit",), "i4", "neuron that is explained"),
            "unit_virtual_neuron": Variable(("unit",), "i4", "its virtual neuron; -1 for the whole neuron"),
            "concept_number": Variable(
                ("method_number", "unit", "slot"), "i4", "concepts, largest weight first; -1: none"
            ),
            "weight": Variable(("method_number", "unit", "slot"), "f8", "their weights", "activation"),
            "intercept": Variable(("method_number", "unit"), "f8", "constant; NaN without explanation", "activation"),
            "correlation": Variable(
                ("method_number", "unit"),
                "f8",
                "Pearson correlation with the neuron on validation images; NaN where nothing was fitted",
            ),
        },
    ),
    "projections": Schema(
        1,
        "projections",
        {
            "reference_id": Variable(("neuron", "reference"), "i4", "image of each reference, -1 where there is none"),
            "position": Variable(
                ("neuron", "reference", "axis"),
                "f4",
                "position of a reference on the map of its neuron; NaN where there is none",
            ),
        },
    ),
    "effects": Schema(
        1,
        "effects",
        {
            "head_scalar": Variable(
                ("image", "head", "neuron"),
                "f4",
                "activation of a neuron, summed over tokens with the head's attention of the class token",
                rounds=True,
            ),
            "scale": Variable(("image",), "f4", "factor of head_scalar times basis on an image"),
            "shared": Variable(
                ("image", "component"),
                "f4",
                "term of the effect that all neurons share: their shares of means and biases",
                "1/100 of the embedding",
            ),
            "embedding": Variable(("image", "component"), "f4", "embedding of the image, of length 100"),
            "completeness": Variable(
                ("image",), "f4", "relative error of the sum of all effects, on a sample; NaN elsewhere"
            ),
            "basis": Variable(
                ("head", "neuron", "component"),
                "f4",
                "effect of a neuron's output weights on the embedding through a head",
            ),
            "head_block": Variable(("head",), "i4", "block of the head"),
            "head_number": Variable(("head",), "i4", "its number in the block"),
        },
    ),
    "directions": Schema(
        2,
        "directions",
        {
            "mean": Variable(("neuron", "component"), "f4", "mean effect", "1/100 of the embedding"),
            "direction": Variable(("neuron", "component"), "f4", "direction: unit vector along the largest effects"),
            "explained": Variable(
                ("neuron", "order"), "f8", "share of the largest effects that each principal component explains"
            ),
            "threshold": Variable(
                ("neuron",), "f4", "length above which an effect is significant", "1/100 of the embedding"
            ),
            "image_id": Variable(("neuron", "top"), "i4", "images with the largest effects, largest first"),
            "length": Variable(("neuron", "top"), "f4", "length of the centered effect", "1/100 of the embedding"),
            "projection": Variable(
                ("neuron", "top"), "f4", "product of the centered effect and the direction", "1/100 of the embedding"
            ),
            "cluster": Variable(("neuron", "top"), "i1", "cluster of the effect; 0 where the neuron has one direction"),
            "cluster_direction": Variable(
                ("neuron", "cluster_number", "component"), "f4", "direction of a cluster; NaN where there is none"
            ),
            "cluster_explained": Variable(
                ("neuron", "cluster_number"),
                "f8",
                "share of a cluster's effects that its direction explains; NaN where there is none",
            ),
            "silhouette": Variable(("neuron",), "f8", "of the clusters; NaN where the neuron has one direction"),
        },
    ),
    "texts": Schema(
        2,
        "texts",
        {
            "text": Variable(("text_number",), "str", "the pool"),
            "text_embedding": Variable(("text_number", "component"), "f4", "embedding of a text, of length 1"),
        },
    ),
    "classes": Schema(
        1,
        "classes",
        {
            "class_name": Variable(("class",), "str", "names of the classes"),
            "class_embedding": Variable(
                ("class", "component"), "f4", "mean embedding of the sentences about a class, of length 1"
            ),
        },
    ),
    "words": Schema(
        2,
        "words",
        {
            "text": Variable(("text_number",), "str", "the pool"),
            "word": Variable(("neuron", "rank"), "i4", "texts of a neuron, strongest first; -1: none"),
            "weight": Variable(("neuron", "rank"), "f4", "their weights"),
            "reconstruction": Variable(("neuron", "component"), "f4", "weighted sum of the texts of a neuron"),
            "cosine_similarity": Variable(("neuron",), "f8", "of reconstruction and direction; NaN without words"),
            "cluster_word": Variable(
                ("neuron", "cluster_number", "rank"), "i4", "texts of a cluster's direction; -1: none"
            ),
            "cluster_weight": Variable(("neuron", "cluster_number", "rank"), "f4", "their weights"),
            "cluster_cosine_similarity": Variable(
                ("neuron", "cluster_number"), "f8", "of their weighted sum and the cluster's direction"
            ),
        },
    ),
    "discovery": Schema(
        2,
        "discovery",
        {
            "text": Variable(("text_number",), "str", "the pool"),
            "word": Variable(("image", "rank"), "i4", "texts of an image, largest score first; -1: none"),
            "score": Variable(("image", "rank"), "f4", "their scores"),
            "neuron": Variable(
                ("image", "neuron_rank", "place"),
                "i4",
                "block and number of the neurons with the largest projections; -1: none",
            ),
            "projection": Variable(
                ("image", "neuron_rank"), "f4", "of their effects on their directions", "1/100 of the embedding"
            ),
            "n_active": Variable(("image",), "i4", "number of neurons with a significant effect"),
        },
    ),
    "heatmaps": Schema(
        1,
        "heatmaps",
        {
            "class": Variable(("image",), "i4", "zero-shot class of the image; -1: none"),
            "heat": Variable(
                ("image", "heat_row", "heat_column"),
                "u1",
                "activation of the neurons nearest to the class",
                "1/255 of the range",
            ),
        },
    ),
}
