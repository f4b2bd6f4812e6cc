"""Orthogonalized matrices keep their singular vectors."""

import torch

from purelens.world.muon import orthogonalized


def test_orthogonalized_matrices_keep_their_singular_vectors() -> None:
    matrix = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    orthogonal = orthogonalized(matrix)
    values = torch.linalg.svdvals(orthogonal)
    assert values.min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close(orthogonal, orthogonalized(matrix.T).T)
