"""Scores beside scipy and scikit-learn, and their sanity checks."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from purelens.explanations.scores import auprc_columns, pearson_columns
from support.sums import spoiled


def test_scores_are_those_of_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true = rng.gamma(1, size=(200, 5))
    simulated = true + rng.normal(size=(200, 5))
    np.testing.assert_allclose(
        pearson_columns(true, simulated),
        [stats.pearsonr(*pair).statistic for pair in zip(true.T, simulated.T, strict=True)],
    )
    active = np.argsort(-true[:, 0])[:10]
    labels = np.isin(np.arange(200), active)
    assert auprc_columns(true, simulated)[0] == pytest.approx(average_precision_score(labels, simulated[:, 0]))


def test_scores_of_constants() -> None:
    nothing = np.zeros((0, 2))
    assert np.isnan(pearson_columns(nothing, nothing)).all()
    assert np.isnan(auprc_columns(nothing, nothing)).all()
    true, constant = np.arange(20.0)[:, None], np.full((20, 1), 3.3)
    assert pearson_columns(true, constant).tolist() == [0.0]
    assert np.isnan(pearson_columns(constant, true)).all()
    assert np.isnan(auprc_columns(np.zeros((20, 1)), true)).all()
    assert auprc_columns(true, constant)[0] == pytest.approx(1 / 20)


@pytest.mark.parametrize("score", [pearson_columns, auprc_columns])
@pytest.mark.parametrize("wrong", ["missing", "extra"])
def test_scores_see_wrong_explanations(score: Callable[..., np.ndarray], wrong: str) -> None:
    """The two sanity checks of NeuronEval: labels that are missing and labels that are too many must lower a score."""
    rng = np.random.default_rng(0)
    truth = (rng.random((2000, 40)) < 0.05).astype(float)
    neuron = truth * rng.uniform(0.5, 1.5, truth.shape) + 0.05 * rng.random(truth.shape)
    right, less = score(neuron, truth), score(neuron, spoiled(truth, wrong, rng))
    assert (right - less > 1e-3).mean() == 1
