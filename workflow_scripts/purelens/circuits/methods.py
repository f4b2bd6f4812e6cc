"""Name the methods that split a neuron: what is clustered. A prefix is followed by a name."""

PURE = "pure:"
"""Circuits in a lower layer, whose name follows (Dreyer et al. 2024)."""

JOINT = "joint"
"""Circuits of all lower layers and activations of the layer together (see `purelens.circuits.views`)."""

ACTIVATIONS = "activations"
"""Mean activations of all neurons of the layer."""

EMBEDDER = "embedder:"
"""Embeddings of the patches by an embedding model, whose name follows."""

RANDOM = "random"
"""A random split into virtual neurons of equal size."""

NO_SPLIT = "none"
"""The whole neuron."""

CHOSEN = "joint with k chosen"
"""The method ``joint``, with as many virtual neurons as the test finds: one, where a neuron is not polysemantic."""

DICTIONARY = "dictionary:"
"""Codes of a dictionary of the layer's activations, whose name follows."""

ALL, POLYSEMANTIC = "all", "polysemantic"
"""Which neurons a mean is over."""
