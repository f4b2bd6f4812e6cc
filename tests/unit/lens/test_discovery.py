"""Concepts of images beside whole tables of effects."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.lens.discovery import discovery
from support.lens import N_IMAGES, effects_of


def test_concepts_of_images(made: dict[str, Any], tmp_path: Path) -> None:
    discovery([made["effects"]] * 2, [made["directions"]] * 2, [made["words"]] * 2, f"{tmp_path}/d.h5", [0, 1])
    with h5py.File(made["directions"]) as directions, h5py.File(made["words"]) as described:
        centered = effects_of(made["effects"]) - directions["mean"][...]
        active = np.linalg.norm(centered, axis=2) >= directions["threshold"][...]
        moved = np.einsum("ind,nd->in", centered, directions["direction"][...]) * active
        weights = np.zeros((32, 7))
        np.put_along_axis(weights, described["word"][...], described["weight"][...], axis=1)
    score = 2 * moved @ weights
    with h5py.File(f"{tmp_path}/d.h5") as file:
        assert file["n_active"][...].tolist() == (2 * active.sum(axis=1)).tolist()
        for image in range(N_IMAGES):
            word = file["word"][image]
            expected = [place for place in np.argsort(-score[image], kind="stable") if score[image, place] > 1e-6]
            assert [place for place in word if place >= 0] == expected
            if active[image].any():
                block, neuron = file["neuron"][image, 0]
                assert (block, neuron) == (0, np.argmax(np.abs(moved[image])))
            else:
                assert (word == -1).all()
                assert (file["neuron"][image] == -1).all()
        assert (file["n_active"][...] == 0).any()
