"""Patches are cut, stretched and embedded once; embeddings of whole images from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from purelens.circuits.activations import activations
from purelens.circuits.embeddings import embeddings, stretched, unique_patches
from purelens.circuits.patches import patches
from purelens.errors import UserError
from purelens.networks.embedders import load_embedder
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from support.layers import SCENE_CLIP

CPU = torch.device("cpu")


@pytest.fixture
def located(small: dict[str, Any], run_stage: Callable[..., str]) -> str:
    references = run_stage(activations, layer=LayerView("layer3"), n_references=6)
    return run_stage(patches, activations_h5=references, layer=LayerView("layer3"), neurons=["0-3"])


def test_embeddings_of_whole_images_from_a_file(located: str, small: dict[str, Any], tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    np.save(tmp_path / "e.npy", values)
    out = str(tmp_path / "out.h5")
    embeddings(small["images_h5"], located, out, {"source": "file", "weights": str(tmp_path / "e.npy")})
    with h5py.File(out) as file:
        ids = file["reference_id"][...]
        np.testing.assert_array_equal(file["embedding"][...][ids >= 0], values[ids[ids >= 0]])
        assert (file["embedding"][...][ids < 0] == 0).all()
    np.save(tmp_path / "e.npy", values[1:])
    with pytest.raises(UserError, match="has 39 rows, but the images' source lists 40"):
        embeddings(small["images_h5"], located, out, {"source": "file", "weights": str(tmp_path / "e.npy")})


def test_patches_are_cut_stretched_and_embedded(
    located: str, small: dict[str, Any], tmp_path: Path, clip_weights: str
) -> None:
    settings = {"source": "open_clip", "architecture": SCENE_CLIP, "weights": clip_weights}
    out = str(tmp_path / "out.h5")
    embeddings(small["images_h5"], located, out, settings, execution=Execution(batch_size=5))
    embedder = load_embedder("open_clip", {k: v for k, v in settings.items() if k != "source"}, CPU)
    with h5py.File(out) as file, h5py.File(located) as where, h5py.File(small["images_h5"]) as images:
        for row, rank in [(0, 0), (1, 3), (3, 5)]:
            top, left, bottom, right = where["box"][row, rank]
            patch = images["pixels"][where["reference_id"][row, rank]][top:bottom, left:right]
            picture = Image.fromarray(stretched(patch))
            expected = embedder.embed(embedder.geometry.apply(picture)[None].copy())[0]
            np.testing.assert_allclose(file["embedding"][row, rank], expected, rtol=1e-3, atol=1e-4)


def test_stretch_is_zennits() -> None:
    from zennit.image import imgify

    patch = np.random.default_rng(0).integers(40, 190, (9, 7, 3), dtype=np.uint8)
    expected = np.asarray(imgify(torch.from_numpy(patch).permute(2, 0, 1).float() / 255))
    assert np.abs(stretched(patch).astype(int) - expected).max() <= 1
    assert stretched(np.full((3, 3, 3), 7, dtype=np.uint8)).max() == 0


def test_equal_patches_are_one() -> None:
    ids = np.array([[4, 2, -1], [4, 4, 2]])
    box = np.zeros((2, 3, 4), dtype=np.int16)
    box[:, :, 2:] = 8
    box[1, 1, 0] = 3
    patches_, pairs = unique_patches(ids, box)
    assert patches_[:, 0].tolist() == [2, 4, 4]
    assert [p.tolist() for p in pairs] == [[1, 5], [0, 3], [4]]
