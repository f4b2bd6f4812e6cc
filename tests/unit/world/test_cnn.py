"""Batches of the training cover an epoch once."""

import torch

from purelens.world.world_cnn import batches


def test_batches_cover_an_epoch_once() -> None:
    batched = list(batches(20, 2, 8))
    assert len(batched) == 4
    assert len(torch.cat(batched[:2]).unique()) == 16
