"""The calibration beside scikit-learn's logistic regression."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from purelens.explanations.calibration import calibrate, probability


def test_the_calibration_is_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    cosine = rng.normal(0.2, 0.05, (400, 6))
    truth = rng.random(cosine.shape) < probability(cosine, 40, -0.25)
    scale, bias, loss = calibrate(lambda: iter([(cosine[:150], truth[:150]), (cosine[150:], truth[150:])]))
    library = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(cosine.reshape(-1, 1), truth.reshape(-1))
    assert scale == pytest.approx(float(library.coef_[0, 0]), rel=1e-3)
    assert scale * bias == pytest.approx(float(library.intercept_[0]), rel=1e-3)
    grid = [
        -np.mean(np.log(np.where(truth, p, 1 - p)))
        for a in np.linspace(30, 50, 21)
        for b in np.linspace(-0.3, -0.2, 21)
        for p in [probability(cosine, a, b)]
    ]
    assert loss <= min(grid) + 1e-9
