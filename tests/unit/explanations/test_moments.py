"""Moments beside numpy."""

import numpy as np
import pytest

from support.sums import covariances, made_up


def test_moments_are_those_of_numpy() -> None:
    concepts, neuron, _ = made_up(0)
    moments = covariances(concepts, neuron)
    np.testing.assert_allclose(moments.gram, np.cov(concepts.T, ddof=0), atol=1e-12)
    np.testing.assert_allclose(
        moments.cross, [np.cov(column, neuron, ddof=0)[0, 1] for column in concepts.T], atol=1e-12
    )
    assert moments.variance == pytest.approx(neuron.var())
