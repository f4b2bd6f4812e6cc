"""The greedy search beside its definition."""

import numpy as np
import pytest

from purelens.bench.reference import explanations as definition
from purelens.explanations.moments import concept_moments, with_activations
from purelens.explanations.ranking import rank_concepts, ranked
from purelens.explanations.selection import Covariances, fits, select
from support.sums import covariances, made_up


def test_fits_are_least_squares() -> None:
    concepts, neuron, _ = made_up(3)
    selected = covariances(concepts, neuron)
    sets = np.array([[0, 5, 7], [1, 2, 3], [4, 4, 9]])  # the last has a concept twice
    for chosen, weights in zip(sets, fits(selected, sets), strict=True):
        expected, constant = definition.fit(concepts[:, chosen], neuron)
        np.testing.assert_allclose(
            concepts[:, chosen] @ weights - neuron.mean() + neuron.mean(), concepts[:, chosen] @ expected, atol=1e-6
        )
        assert constant == pytest.approx(selected.mean_y - weights @ selected.mean[chosen], abs=1e-6)


def test_the_selection_is_that_of_the_paper() -> None:
    """The same concepts as a transcription that fits every set from the data, in at least 99 of 100 problems."""
    equal = 0
    for seed in range(100):
        concepts, neuron, _ = made_up(seed, n=200, m=30, noise=0.5)
        train, validation = slice(0, 150), slice(150, 200)
        of_train, of_validation = (
            covariances(concepts[train], neuron[train]),
            covariances(concepts[validation], neuron[validation]),
        )
        weights, marginal = rank_concepts(of_train.gram, of_train.cross, of_train.variance, 150, 0.05, 0.99)
        order = ranked(weights, marginal)
        selected = select(of_train, of_validation, order)
        assert selected is not None
        expected, reached = definition.greedy(
            concepts[train], neuron[train], concepts[validation], neuron[validation], order.tolist()
        )
        same = sorted(selected.concepts.tolist()) == sorted(expected)
        equal += same
        if same:
            assert selected.correlation == pytest.approx(reached, abs=1e-9)
            assert (np.diff(selected.weights) <= 0).all()
            best, constant = definition.fit(concepts[train][:, selected.concepts], neuron[train])
            np.testing.assert_allclose(selected.weights, best, rtol=1e-6, atol=1e-9)
            assert selected.intercept == pytest.approx(constant, abs=1e-8)
    assert equal >= 99


def test_the_name_of_the_last_concept_is_that_which_was_chosen() -> None:
    """At the greatest length the published program names the last one it tried instead."""
    rng = np.random.default_rng(0)
    concepts = rng.normal(size=(400, 12))
    neuron = concepts @ np.array([1.0] * 10 + [0.9, 0.8])
    selected = select(
        covariances(concepts[:300], neuron[:300]), covariances(concepts[300:], neuron[300:]), np.arange(12), 5, 10, 0.0
    )
    assert selected is not None
    assert len(selected.concepts) == 5
    expected, _ = definition.greedy(
        concepts[:300], neuron[:300], concepts[300:], neuron[300:], list(range(12)), 5, 10, 0.0
    )
    assert sorted(selected.concepts.tolist()) == sorted(expected)


def test_a_known_sum_of_concepts_is_recovered() -> None:
    concepts, neuron, weights = made_up(4, n=500, noise=0.0)
    train, validation = covariances(concepts[:400], neuron[:400]), covariances(concepts[400:], neuron[400:])
    sparse, marginal = rank_concepts(train.gram, train.cross, train.variance, 400, 0.01, 0.99)
    selected = select(train, validation, ranked(sparse, marginal), tolerance=0.0005)
    assert selected is not None
    np.testing.assert_allclose(selected.weights, np.sort(weights[weights > 0])[::-1], rtol=0.05)
    assert set(selected.concepts.tolist()) == set(np.flatnonzero(weights).tolist())


def test_nothing_explains_noise_that_no_concept_follows() -> None:
    constant = Covariances(np.eye(3), np.zeros(3), 1.0, np.zeros(3), 0.0)
    assert select(constant, constant, np.arange(3)) is None


def test_equal_correlations_are_decided_by_the_ranking() -> None:
    """Of two classes, one is the other's opposite: both predict the neuron, and the one that is active with it is named."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        cat = (rng.random(60) < 0.5).astype(float)
        x = np.stack([1 - cat, cat], axis=1)
        y = 2.5 * cat + 0.1 * rng.random(60)
        train = concept_moments([x], 2)
        moments = with_activations(train, [(x, y[:, None])], 1)
        of_both = Covariances(moments.gram, moments.cross[0], moments.variance[0], moments.mean, moments.mean_y[0])
        selected = select(of_both, of_both, np.array([1, 0]))
        assert selected is not None
        assert selected.concepts.tolist() == [1]
        assert selected.weights[0] > 0


def test_the_unit_of_a_neuron_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((200, 5)) < 0.3).astype(float)
    y = x[:, 2] + 0.1 * rng.random(200)
    chosen = []
    for unit in (1.0, 1e-7, 1e6):
        moments = with_activations(concept_moments([x], 5), [(x, unit * y[:, None])], 1)
        of_both = Covariances(moments.gram, moments.cross[0], moments.variance[0], moments.mean, moments.mean_y[0])
        selected = select(of_both, of_both, np.arange(5))
        assert selected is not None
        chosen.append((selected.concepts.tolist(), round(selected.correlation, 9)))
    assert chosen[0] == chosen[1] == chosen[2]
