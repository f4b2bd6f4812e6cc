"""Agreement of clusterings beside scikit-learn."""

import numpy as np
from sklearn.metrics import adjusted_rand_score

from purelens.numerics.agreement import adjusted_rand_index


def test_many_pairs_at_once_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(-1, 4, (2, 50, 30))
    other[0] = one[0]
    one[1] = 0
    expected = []
    for first, second in zip(one, other, strict=True):
        counts = (first >= 0) & (second >= 0)
        expected.append(adjusted_rand_score(first[counts], second[counts]))
    np.testing.assert_allclose(adjusted_rand_index(one, other), expected, atol=1e-12)


def test_nothing_to_compare() -> None:
    assert np.isnan(adjusted_rand_index(np.array([-1, -1, 0]), np.array([0, 1, -1])))
    assert adjusted_rand_index(np.zeros(4, int), np.zeros(4, int)) == 1
