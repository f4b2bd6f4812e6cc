"""Judge how much of the relevance of a neuron arrives at the pixels."""

import numpy as np

LRP, GRADIENT = "lrp", "gradient"
"""Attributions to pixels."""

VANISHED = 0.01
"""A median share of relevance at the pixels below this is reported; the embedded network keeps 0.2 to 0.6."""


def conservation_warnings(conserved: np.ndarray, attribution: str) -> list[str]:
    """Say where relevance is far from conserved, and what to do.

    Parameters
    ----------
    conserved
        Relevance at the pixels as a share of the seed, of any shape; NaN: none.
    attribution
        How pixels were attributed to. Input x gradient is conserved only in networks without biases: nothing is said of it.

    Returns
    -------
    list
        Sentences; none where boxes can be trusted.
    """
    if attribution != LRP or not np.isfinite(conserved).any():
        return []
    low, high = np.nanquantile(conserved, [0.05, 0.95])
    share = np.nanmedian(np.abs(conserved))
    warnings = []
    if low < -1 or high > 2:
        warnings.append(
            "relevance is not conserved in this network: sums of values of opposite sign share it out by factors far beyond "
            "one, and boxes may be off; compare with attribution: gradient"
        )
    if share < VANISHED:
        warnings.append(
            f"relevance vanishes in this network: a share of {share:.1g} reaches the pixels (linear bottlenecks lose it), and "
            "boxes follow what is left; compare with attribution: gradient"
        )
    return warnings
