"""Embeddings of the pool of texts and of classes."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from purelens.errors import UserError
from purelens.lens.classes import read_classes
from purelens.lens.texts import texts
from purelens.networks.embedders import build_clip, encode_texts
from support.lens import CLASSES, TEMPLATES


def test_texts_are_told_once_and_classes_are_means(made: dict[str, Any], clip: dict[str, Any]) -> None:
    with h5py.File(made["texts"]) as file:
        assert [name.decode() for name in file["text"][...]] == [
            "a circle",
            "a square",
            "red",
            "null",
            "nan",
            "blue sky",
            "night",
        ]
        np.testing.assert_allclose(np.linalg.norm(file["text_embedding"][...], axis=1), 1, rtol=1e-5)
    names, embeddings = read_classes(made["classes"])
    assert names == CLASSES
    sentences = [template.format(name) for name in CLASSES for template in TEMPLATES]
    vectors = encode_texts(clip["architecture"], "random", sentences)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    means = vectors.reshape(len(CLASSES), len(TEMPLATES), -1).mean(axis=1)
    np.testing.assert_allclose(embeddings, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_texts_that_are_not_finite(made: dict[str, Any], clip: dict[str, Any], tmp_path: Path) -> None:
    model = build_clip(clip["architecture"], "random")
    with torch.no_grad():
        model.text_projection[0, 0] = torch.nan
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="NaN or infinite embeddings of texts"):
        texts(f"{tmp_path}/t.h5", {**clip, "weights": f"{tmp_path}/w.safetensors"}, made["pool"])
