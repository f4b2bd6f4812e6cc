"""Orthogonal matching pursuit beside its definition and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import orthogonal_mp

from purelens.bench.reference import lens as definition
from purelens.lens.pursuit import pursue, unit_atoms


def random_atoms(n: int, d: int) -> torch.Tensor:
    return unit_atoms(torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_two_hundred_directions_beside_scikit_learn() -> None:
    atoms = random_atoms(500, 48)
    targets = torch.randn(200, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen, weights = pursue(atoms, targets, 12)
    expected = orthogonal_mp(atoms.numpy().T, targets.numpy().T, n_nonzero_coefs=12).T
    reconstruction = np.zeros_like(expected)
    np.put_along_axis(reconstruction, chosen.numpy(), weights.numpy(), axis=1)
    assert ((reconstruction != 0) == (expected != 0)).all()
    np.testing.assert_allclose(reconstruction, expected, atol=1e-5)


def test_order_and_weights_of_the_definition() -> None:
    atoms, targets = (
        random_atoms(60, 20),
        torch.randn(5, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2)),
    )
    chosen, weights = pursue(atoms, targets, 6)
    for row, target in enumerate(targets):
        expected, fitted = definition.pursuit(atoms, target, 6)
        assert chosen[row].tolist() == expected
        torch.testing.assert_close(weights[row], fitted)


def test_orthogonal_atoms_are_thresholded() -> None:
    target = torch.tensor([[3.0, -5.0, 1.0, 0.5]], dtype=torch.float64)
    chosen, weights = pursue(torch.eye(4, dtype=torch.float64), target, 2)
    assert chosen.tolist() == [[1, 0]]
    assert weights.tolist() == [[-5, 3]]


def test_what_is_explained_takes_no_more_words() -> None:
    atoms = torch.eye(5, dtype=torch.float64)
    targets = torch.tensor([[0.0, 2, 0, 0, 0], [0.0, 0, 0, 0, 0], [1.0, 2, 3, 4, 5]], dtype=torch.float64)
    chosen, weights = pursue(atoms, targets, 3)
    assert chosen.tolist() == [[1, -1, -1], [-1, -1, -1], [4, 3, 2]]
    assert weights.tolist() == [[2, 0, 0], [0, 0, 0], [5, 4, 3]]


def test_fewer_atoms_than_words_and_repeated_atoms() -> None:
    atoms = torch.eye(4, dtype=torch.float64)[[0, 1, 1]]
    chosen, weights = pursue(atoms, torch.tensor([[1.0, 2, 3, 4]], dtype=torch.float64), 9)
    assert chosen.tolist() == [[1, 0, -1]]
    assert weights.tolist() == [[2, 1, 0]]


@pytest.mark.parametrize(("scaling", "axis"), [("unit", 1), ("released", 0)])
def test_scaling(scaling: str, axis: int) -> None:
    texts = torch.randn(30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    atoms = unit_atoms(texts, scaling)
    torch.testing.assert_close(
        torch.linalg.vector_norm(atoms, dim=axis), torch.ones(atoms.shape[1 - axis], dtype=torch.float64)
    )
    assert not torch.allclose(atoms, unit_atoms(texts, "released" if scaling == "unit" else "unit"))
