"""CLIP-Dissect beside its definition."""

from collections.abc import Iterator

import numpy as np

from purelens.bench.reference import explanations as definition
from purelens.explanations.dissection import concept_shares, log_likelihood, soft_wpmi


def test_soft_wpmi_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    cosine, activations = rng.uniform(-0.2, 0.4, (60, 15)), rng.random((60, 7))
    expected = definition.soft_wpmi(cosine, activations, 20)
    order = np.argsort(-activations, axis=0, kind="stable")[:20].T
    likelihood = log_likelihood(concept_shares(cosine)[order])

    def slabs() -> Iterator[np.ndarray]:
        yield likelihood[:3]
        yield likelihood[3:]

    best, score = soft_wpmi(slabs, 7)
    assert best.tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(score, expected.max(axis=1), atol=1e-6)
