"""List the variables of the artifacts of the lens."""

from purelens.storage.variables import Schema, Variable

LENS_SCHEMAS = {
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
