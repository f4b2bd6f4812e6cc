"""List the variables of every kind of artifact, with their dimensions, types and units."""

from purelens.storage.lens_schemas import LENS_SCHEMAS
from purelens.storage.variables import Schema, Variable

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
        2,
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
            "seed_stability": Variable(
                ("method_number", "n_clusters", "neuron"),
                "f8",
                "adjusted Rand index with the split from another seed; NaN for random splits",
            ),
            "half_stability": Variable(
                ("method_number", "n_clusters", "neuron"),
                "f8",
                "mean adjusted Rand index with the splits of every other reference; NaN for random splits",
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
    "dictionaries": Schema(
        1,
        "dictionaries",
        {
            "dictionary_name": Variable(("dictionary",), "str", "names of the dictionaries"),
            "explained": Variable(("dictionary",), "f8", "share of the variance of activations that is reconstructed"),
            "decoder/*": Variable(("latent", "layer_neuron"), "f4", "direction of each latent in the layer"),
            "matched_neuron/*": Variable(("latent",), "i4", "neuron with the largest absolute weight in the direction"),
            "mean/*": Variable(("image", "latent"), "f4", "mean code over positions", "activation", rounds=True),
            "max/*": Variable(("image", "latent"), "f4", "largest code over positions", "activation", rounds=True),
            "reference_id/*": Variable(
                ("latent", "reference"), "i4", "image of each reference of a latent, -1 where there is none"
            ),
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
    **LENS_SCHEMAS,
}
