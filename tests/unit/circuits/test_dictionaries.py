"""Dictionaries beside scikit-learn, and of made-up activations whose parts are known."""

from typing import Any

import h5py
import numpy as np
import pytest
import torch
from sklearn.decomposition import non_negative_factorization

from purelens.circuits import dictionary_models
from purelens.circuits.dictionaries import Sizes, dictionaries, learn
from purelens.circuits.dictionary_models import UPDATES, learn_nonnegative_factors, learn_sparse_autoencoder
from purelens.circuits.planted_scores import latents_of
from purelens.errors import UserError
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from support.layers import images_of


def made_of_parts(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of 20 neurons that are sums of two of six parts."""
    rng = np.random.default_rng(seed)
    parts = np.abs(rng.normal(size=(6, 20))) * (rng.random((6, 20)) < 0.4) + 1e-3
    codes = np.zeros((3000, 6))
    for row in codes:
        row[rng.choice(6, 2, replace=False)] = rng.random(2) + 0.5
    return (codes @ parts).astype(np.float32), parts / np.linalg.norm(parts, axis=1, keepdims=True)


def test_codes_of_the_factors_are_those_of_scikit_learn() -> None:
    vectors, _ = made_of_parts()
    factors = learn_nonnegative_factors(vectors, 6, 0)
    parts = factors.decoder.numpy().astype(np.float64)
    start = np.full((50, 6), 0.1)
    codes, _, _ = non_negative_factorization(
        vectors[:50].astype(np.float64), W=start, H=parts, n_components=6, init="custom", update_H=False, solver="cd",
        max_iter=5000, tol=1e-12,
    )  # fmt: skip
    own = factors.encode(torch.from_numpy(vectors[:50])).numpy()
    lost = np.linalg.norm(own @ parts - vectors[:50]), np.linalg.norm(codes @ parts - vectors[:50])
    assert lost[0] < lost[1] + 0.02 * np.linalg.norm(vectors[:50])
    assert (own >= 0).all()
    assert UPDATES > 0


def test_both_find_the_parts() -> None:
    vectors, parts = made_of_parts()
    for learned in (learn_nonnegative_factors(vectors, 6, 0), learn_sparse_autoencoder(vectors, 12, 2, 0)):
        cosine = np.abs(parts @ torch.nn.functional.normalize(learned.decoder, dim=1).numpy().T).max(axis=1)
        assert np.median(cosine) > 0.9
        batch = torch.from_numpy(vectors)
        rest = (learned.decode(learned.encode(batch)) - batch).square().sum()
        assert 1 - rest / (batch - batch.mean(dim=0)).square().sum() > 0.8


def test_the_autoencoder_makes_a_vector_of_k_latents_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary_models, "STEPS", 20)
    vectors, _ = made_of_parts()
    one, other = (learn_sparse_autoencoder(vectors, 12, 2, 5) for _ in range(2))
    codes = one.encode(torch.from_numpy(vectors))
    assert int((codes != 0).sum(dim=1).max()) <= 2
    assert torch.equal(one.decoder, other.decoder)
    assert torch.allclose(one.decoder.norm(dim=1), torch.ones(12), atol=1e-5)


def test_the_artifact_holds_the_codes_of_all_images(
    small: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary_models, "STEPS", 50)
    out = f"{tmp_path}/d.h5"
    dictionaries(**small, dictionaries_h5=out, layer=LayerView("layer3"), n_references=5, sizes=Sizes(12, 3))
    network = load_network(*small["model"])
    with h5py.File(out) as file, Segment(network.module, "layer3") as segment, torch.inference_mode():
        maps = segment.forward(images_of(small)[:3])[0].flatten(2)
        decoder = torch.from_numpy(file["decoder/nmf"][...])
        np.testing.assert_array_equal(file["matched_neuron/nmf"][...], decoder.abs().argmax(dim=1))
        for name in ("nmf", "sae"):
            mean, most = file[f"mean/{name}"][...], file[f"max/{name}"][...]
            assert (mean <= most + 1e-6).all()
            for latent in range(12):
                ids = file[f"reference_id/{name}"][latent]
                ids = ids[ids >= 0]
                order = np.argsort(-most[:, latent], kind="stable")[: len(ids)]
                np.testing.assert_allclose(most[ids, latent], most[order, latent])
            explained = float(file["explained"][["nmf", "sae"].index(name)])
            assert 0.2 < explained <= 1
        codes = torch.from_numpy(file["mean/nmf"][:3])
        assert torch.allclose(codes @ decoder, maps.mean(dim=2), atol=float(maps.max()))


def test_latents_of_parents_are_left_out() -> None:
    left_out = latents_of(np.array([3, 5, 3, 0]), np.array([[3, -1], [5, 0], [7, -1]]))
    assert [sorted(row[row >= 0].tolist()) for row in left_out] == [[0, 2], [1, 3], []]


def test_a_layer_that_is_never_active_is_told() -> None:
    with pytest.raises(UserError, match="never active"):
        learn(np.zeros((10, 4), dtype=np.float32), Sizes(2, 1), 0, "layer3")


def test_activations_that_are_no_numbers_are_told() -> None:
    vectors = np.ones((10, 4), dtype=np.float32)
    vectors[3, 1] = np.nan
    with pytest.raises(UserError, match="layer 'layer3' has NaN or infinite activations"):
        learn(vectors, Sizes(2, 1), 0, "layer3")
