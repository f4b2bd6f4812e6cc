"""Relevance that does not arrive at the pixels, or too much of it."""

import numpy as np
import pytest

from purelens.circuits.conservation import conservation_warnings


@pytest.mark.parametrize(
    ("share", "attribution", "words"),
    [
        (0.5, "lrp", []),
        (1e-5, "lrp", ["relevance vanishes in this network: a share of 1e-05"]),
        (3.0, "lrp", ["relevance is not conserved"]),
        (-2.0, "lrp", ["relevance is not conserved"]),
        (1e-5, "gradient", []),
        (np.nan, "lrp", []),
    ],
)
def test_relevance_that_is_not_conserved_is_told_of(share: float, attribution: str, words: list[str]) -> None:
    told = conservation_warnings(np.full((3, 4), share), attribution)
    assert len(told) == len(words)
    assert all(
        text.startswith(word) and "attribution: gradient" in text for text, word in zip(told, words, strict=True)
    )
