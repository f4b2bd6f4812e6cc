"""Directions are singular vectors of the largest effects; neurons that need several are clustered."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from purelens.errors import UserError
from purelens.lens.directions import directions, principal
from purelens.lens.effects import effects
from purelens.networks.embedders import build_clip
from support.lens import BLOCK, N_IMAGES, SIZE, draw_images, effects_of, fitting_images


def test_directions_are_singular_vectors_of_the_largest_effects(made: dict[str, Any]) -> None:
    table = effects_of(made["effects"])[fitting_images()].astype(np.float64)
    with h5py.File(made["directions"]) as file:
        for neuron in (0, 7, 31):
            centered = table[:, neuron] - table[:, neuron].mean(axis=0)
            length = np.linalg.norm(centered, axis=1)
            order = np.argsort(-length, kind="stable")[:20]
            _, values, right = np.linalg.svd(centered[order], full_matrices=False)
            assert file["image_id"][neuron].tolist() == fitting_images()[order].tolist()
            direction = file["direction"][neuron]
            assert abs(float(direction @ right[0])) > 0.9999
            assert (centered[order] @ direction > 0).sum() >= 10
            np.testing.assert_allclose(file["explained"][neuron], (values**2 / (values**2).sum())[:8], atol=1e-4)
            n_significant = round(0.02 * len(centered))
            assert file["threshold"][neuron] == pytest.approx(
                np.sort(length)[-n_significant - 1 :][:2].mean(), rel=1e-4
            )
            np.testing.assert_allclose(file["projection"][neuron], centered[order] @ direction, rtol=1e-3, atol=1e-4)


def test_neurons_that_need_several_directions_are_split(made: dict[str, Any]) -> None:
    with h5py.File(made["directions"]) as file:
        cluster, silhouette = file["cluster"][...], file["silhouette"][...]
        share = file["cluster_explained"][...]
        several = file["explained"][:, 0] < 0.9
        assert several.any()
        assert ((cluster.max(axis=1) > 0) == several).all()
        assert np.isfinite(silhouette[several]).all()
        assert np.isnan(silhouette[~several]).all()
        for neuron in np.flatnonzero(several):
            n_directions = cluster[neuron].max() + 1
            assert np.isfinite(share[neuron, :n_directions]).all()
            assert np.isnan(share[neuron, n_directions:]).all()
        whole = ~several
        np.testing.assert_array_equal(file["cluster_direction"][...][whole, 0], file["direction"][...][whole])


def test_principal_component_of_some_vectors_only() -> None:
    vectors = np.zeros((2, 4, 3), dtype=np.float32)
    vectors[0, :, 0] = [1, 2, -3, 4]
    vectors[0, 3, 1] = 100
    direction, shares = principal(vectors, np.array([[True, True, True, False], [True] * 4]))
    np.testing.assert_allclose(direction, [[1, 0, 0], [0, 0, 0]])
    assert shares[0, 0] == pytest.approx(1)
    assert np.isnan(shares[1, 0])


def test_too_few_images_for_the_directions(made: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"directions of 100 images \(lens.top_images\) are requested, but there are only 48"
    ):
        directions(made["effects"], f"{tmp_path}/d.h5")
    assert list(tmp_path.iterdir()) == []


def test_equal_images_have_no_effects(clip: dict[str, Any], tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images.h5", pixels=np.full((N_IMAGES, SIZE, SIZE, 3), 90, dtype=np.uint8))
    effects(images, f"{tmp_path}/e.h5", clip, BLOCK)
    directions(f"{tmp_path}/e.h5", f"{tmp_path}/d.h5", top_images=20, significant_fraction=0.99)
    with h5py.File(f"{tmp_path}/d.h5") as file:
        assert (file["direction"][...] == 0).all()
        assert np.isnan(file["explained"][...]).all()
        assert np.isinf(file["threshold"][...]).all()


def test_neurons_that_write_nothing_have_no_direction(clip: dict[str, Any], tmp_path: Path) -> None:
    model = build_clip(clip["architecture"], "random")
    with torch.no_grad():
        model.visual.transformer.resblocks[BLOCK].mlp.c_proj.weight[:, [2, 5]] = 0
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    images = draw_images(tmp_path / "images.h5")
    effects(images, f"{tmp_path}/e.h5", {**clip, "weights": f"{tmp_path}/w.safetensors"}, BLOCK)
    directions(f"{tmp_path}/e.h5", f"{tmp_path}/d.h5", top_images=20)
    every = effects_of(f"{tmp_path}/e.h5")
    with h5py.File(f"{tmp_path}/d.h5") as file:
        idle = (file["direction"][...] == 0).all(axis=1)
        assert np.flatnonzero(idle).tolist() == [2, 5]
        assert (np.isinf(file["threshold"][...]) == idle).all()
        np.testing.assert_allclose(file["mean"][...], every[fitting_images()].mean(axis=0), atol=1e-5)
