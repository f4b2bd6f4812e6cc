"""Correlations of distances beside scipy."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr

from purelens.circuits.alignment import correlations, pair_moments


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(4, 15, 6)), rng.normal(size=(4, 15, 9))
    y[:, :, :6] += x
    x[2, 1] = x[2, 0]
    dx, dy = (np.stack([squareform(pdist(v)) for v in vectors]) for vectors in (x, y))
    valid = np.ones((4, 15), dtype=bool)
    valid[3, 10:] = False
    moments = pair_moments(dx, dy, valid)
    for row in range(4):
        n = int(valid[row].sum())
        a, b = pdist(x[row, :n]), pdist(y[row, :n])
        assert correlations(moments)[row] == pytest.approx(pearsonr(a[a > 0], b[a > 0])[0], abs=1e-9)
    a, b = pdist(x[0]), pdist(y[0])
    c, d = pdist(x[1]), pdist(y[1])
    pooled = pearsonr(np.concatenate([a, c]), np.concatenate([b, d]))[0]
    assert correlations(moments[:2].sum(axis=0)) == pytest.approx(pooled, abs=1e-9)
