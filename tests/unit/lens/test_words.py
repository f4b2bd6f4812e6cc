"""Words reconstruct directions."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from purelens.errors import UserError
from purelens.lens.texts import texts
from purelens.lens.words import words


def test_words_reconstruct_directions(made: dict[str, Any]) -> None:
    with (
        h5py.File(made["words"]) as file,
        h5py.File(made["texts"]) as known,
        h5py.File(made["directions"]) as directions,
    ):
        pool = known["text_embedding"][...]
        atoms = pool - pool.mean(axis=0)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        word, weight = file["word"][...], file["weight"][...]
        assert word.shape == (32, 4)
        assert (np.diff(np.abs(weight), axis=1) <= 0).all()
        reconstruction = np.einsum("nm,nmd->nd", weight, atoms[word])
        np.testing.assert_allclose(file["reconstruction"][...], reconstruction, atol=1e-5)
        direction = directions["direction"][...]
        cosine = (reconstruction * direction).sum(axis=1) / np.linalg.norm(reconstruction, axis=1)
        np.testing.assert_allclose(file["cosine_similarity"][...], cosine, atol=1e-5)
        split = directions["cluster"][...].max(axis=1) > 0
        np.testing.assert_array_equal(file["cluster_word"][...][~split, 0], word[~split])
        assert (file["cluster_word"][...][~split, 1:] == -1).all()


def test_a_pool_smaller_than_the_words_wanted(made: dict[str, Any], tmp_path: Path) -> None:
    words(made["directions"], made["texts"], f"{tmp_path}/words.h5", n_words=50)
    with h5py.File(f"{tmp_path}/words.h5") as file:
        assert file["word"].shape[1] == 7


def test_a_pool_of_one_text(made: dict[str, Any], clip: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("red\n\nred\n")
    texts(f"{tmp_path}/texts.h5", clip, f"{tmp_path}/one.txt")
    with pytest.raises(UserError, match="has 1 text; texts are told apart by their differences"):
        words(made["directions"], f"{tmp_path}/texts.h5", f"{tmp_path}/words.h5")
