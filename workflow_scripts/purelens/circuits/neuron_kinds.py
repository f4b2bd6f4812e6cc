"""Say what counts as the value of a neuron on an image (the reference criterion), and how it is seeded."""

from purelens.networks.final_function import ACTIVATION_FUNCTIONS, BOUNDED

MAX = "max"
"""The largest activation over positions (Dreyer et al. 2024)."""

MEAN = "mean"
"""The mean activation over positions."""

PREACTIVATION = "preactivation"
"""The largest value over positions of what the layer's activation function is given."""

RELEVANCE = "relevance"
"""The relevance of the neuron for the class that the network predicts (RelMax, Achtibat et al. 2023)."""


def functions_before(criterion: str) -> frozenset[str]:
    """List the activation functions whose input stands for the neuron.

    Where a function has a ceiling its input does by any criterion: at the ceiling images tie and no gradient flows.

    Parameters
    ----------
    criterion
        ``max``, ``mean``, ``preactivation`` or ``relevance``.
    """
    return ACTIVATION_FUNCTIONS if criterion == PREACTIVATION else BOUNDED
