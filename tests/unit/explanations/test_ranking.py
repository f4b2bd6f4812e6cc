"""The elastic net beside scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from purelens.explanations.ranking import elastic_net, rank_concepts, ranked
from support.sums import covariances, made_up


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("l1", [0.3, 0.05, 0.005])
def test_the_sparse_fit_is_the_optimum(seed: int, l1: float) -> None:
    concepts, neuron, _ = made_up(seed, m=60)
    moments = covariances(concepts, neuron)
    weights, marginal = rank_concepts(moments.gram, moments.cross, moments.variance, len(concepts), l1, 0.99)
    x = (concepts - concepts.mean(axis=0)) / concepts.std(axis=0, ddof=1)
    y = (neuron - neuron.mean()) / neuron.std(ddof=1)
    # the conditions of the optimum (Karush, Kuhn and Tucker)
    l2 = l1 * 0.01 / 0.99
    gradient = x.T @ (x @ weights - y) / len(x) + l2 * weights
    active = weights != 0
    np.testing.assert_allclose(gradient[active], -l1 * np.sign(weights[active]), atol=1e-6)
    assert np.abs(gradient[~active]).max() <= l1 + 1e-6
    library = ElasticNet(alpha=l1 / 0.99, l1_ratio=0.99, tol=1e-12, max_iter=100_000, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(weights, library.coef_, atol=1e-5)
    np.testing.assert_allclose(marginal, x.T @ y / len(x), atol=1e-9)


def test_a_penalty_above_every_correlation_leaves_nothing() -> None:
    concepts, neuron, _ = made_up(1)
    moments = covariances(concepts, neuron)
    largest = np.abs(moments.cross).max()
    assert not elastic_net(moments.gram, moments.cross, 1.001 * largest, 0.0).any()
    assert elastic_net(moments.gram, moments.cross, 0.999 * largest, 0.0).any()


def test_concepts_that_are_the_same_do_not_stop_the_sparse_fit() -> None:
    concepts, neuron, _ = made_up(2)
    twice = np.concatenate([concepts, concepts], axis=1)
    moments = covariances(twice, neuron)
    weights, _ = rank_concepts(moments.gram, moments.cross, moments.variance, len(twice), 0.05, 1.0)
    assert np.isfinite(weights).all()
    assert weights.any()


def test_the_order_is_by_weight_then_correlation_then_number() -> None:
    weights, marginal = np.array([0.0, 0.5, 0.0, -0.9, 0.0]), np.array([0.1, 0.2, 0.3, -0.8, 0.3])
    assert ranked(weights, marginal).tolist() == [1, 2, 4, 0, 3]
    assert ranked(weights, marginal, inhibitory=True).tolist() == [3, 1, 2, 4, 0]
