"""Orthogonalized matrices keep their singular vectors."""

import torch

from purelens.world.muon import orthogonalized


def test_orthogonalized_matrices_keep_their_singular_vectors() -> None:
    matrix = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    found = orthogonalized(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close(found, orthogonalized(matrix.T).T)
