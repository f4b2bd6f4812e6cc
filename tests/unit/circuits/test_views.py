"""Views of references beside a direct computation."""

from typing import Any

import h5py
import numpy as np

from purelens.circuits.representations import open_representations
from purelens.circuits.views import prepared, view_grams


def test_grams_are_those_of_prepared_vectors(study: dict[str, Any]) -> None:
    with open_representations(study["relevances"], study["activations"], [], [], joint=True) as references:
        valid = references.reference_id[:4] >= 0
        grams = view_grams(references.views, valid, 0, 4)
    with h5py.File(study["relevances"]) as file, h5py.File(study["activations"]) as activations:
        ids = file["reference_id"][:4]
        circuits = [file[f"relevance/{name}"][:4].astype(float) for name in ("layer3.0", "layer2")]
        means = activations["mean"][...].astype(float)
    for row in range(4):
        there = ids[row] >= 0
        if there.sum() < 2:
            continue
        own = means[ids[row, there]].copy()
        own[:, row] = 0
        views = [np.hstack([prepared(c[row, there]) for c in circuits]), prepared(own)]
        for number, vectors in enumerate(views):
            centered = vectors - vectors.mean(axis=0)
            expected = centered @ centered.T
            expected *= there.sum() / np.trace(expected)
            np.testing.assert_allclose(grams[row, number][np.ix_(there, there)], expected, atol=2e-3)


def test_vectors_of_nothing_stay() -> None:
    vectors = np.array([[0.0, 0.0], [-4.0, 9.0]])
    np.testing.assert_allclose(prepared(vectors), [[0, 0], [-2 / np.sqrt(13), 3 / np.sqrt(13)]])
