"""Learn dictionaries of activations: vectors as sums of a few latents, by nonnegative matrices or a sparse autoencoder."""

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from purelens.progress import Progress

NMF_NAME, SAE_NAME = "nmf", "sae"

UPDATES = 100
"""Multiplicative updates of codes. On layers of the CIFAR networks the loss changes by less than a thousandth of the vectors'
squares afterwards; the codes themselves go on changing where there are more latents than neurons."""

LEARNING_RATE, STEPS, BATCH = 3e-3, 1000, 1024
"""Of the autoencoder, by Adam, for vectors whose mean squared distance from their mean is 1."""

FLOOR = 1e-10


class Dictionary(Protocol):
    """A dictionary that was learned."""

    @property
    def decoder(self) -> torch.Tensor:
        """Direction (L, C) of each latent in the layer."""

    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        """Compute the codes (r, L) of activation vectors (r, C)."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Compute what codes (r, L) stand for: (r, C)."""


@dataclass(frozen=True)
class NonnegativeFactors:
    """Nonnegative matrix factorization (Lee & Seung 2001): vectors are sums of nonnegative parts.

    Attributes
    ----------
    decoder
        (L, C), at least 0.
    """

    decoder: torch.Tensor

    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        """Compute codes (r, L) by multiplicative updates from a constant; negative activations count as 0."""
        vectors = vectors.clamp(min=0)
        towards, within = vectors @ self.decoder.T, self.decoder @ self.decoder.T
        mean = vectors.mean(dim=1, keepdim=True).clamp(min=0)
        codes = (mean / self.decoder.mean().clamp(min=FLOOR) / len(self.decoder)).expand_as(towards).clone()
        for _ in range(UPDATES):
            codes = codes * towards / (codes @ within).clamp(min=FLOOR)
        return codes

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Add up the parts."""
        return codes @ self.decoder


def learn_nonnegative_factors(vectors: np.ndarray, n_latents: int, seed: int) -> NonnegativeFactors:
    """Factorize activation vectors.

    Parameters
    ----------
    vectors
        (r, C) activations; negative ones count as 0.
    n_latents
        Number of latents L.
    seed
        Seed of the start.

    Returns
    -------
    NonnegativeFactors
        Its parts have length 1.
    """
    model = NMF(n_latents, init=None, random_state=seed, max_iter=UPDATES, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the loss has settled long before the factors
        model.fit(np.maximum(vectors, 0))
    parts = model.components_ / np.maximum(np.linalg.norm(model.components_, axis=1, keepdims=True), FLOOR)
    return NonnegativeFactors(torch.from_numpy(parts.astype(np.float32)))


class SparseAutoencoder(torch.nn.Module):
    """Top-k sparse autoencoder (Makhzani & Frey 2014; Gao et al. 2024): the k largest of relu(W (x - b)) are the code.

    Parameters
    ----------
    vectors
        (r, C) activations to begin with: their mean is b, directions of some of them are the first latents.
    n_latents
        Number of latents L.
    n_active
        Number k of latents that a vector is made of.
    generator
        Draws the first latents.
    """

    def __init__(self, vectors: torch.Tensor, n_latents: int, n_active: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_active = min(n_active, n_latents)
        mean = vectors.mean(dim=0)
        chosen = vectors[torch.randint(len(vectors), (n_latents,), generator=generator)] - mean
        jitter = torch.randn(chosen.shape, generator=generator) * 1e-3
        directions = torch.nn.functional.normalize(chosen + jitter * vectors.std(dim=0).mean().clamp(min=FLOOR), dim=1)
        self.bias = torch.nn.Parameter(mean)
        self.decoder = torch.nn.Parameter(directions)
        self.encoder = torch.nn.Parameter(directions.clone())

    def encode(self, vectors: torch.Tensor) -> torch.Tensor:
        """Compute codes (r, L), all but k of them 0."""
        values = ((vectors - self.bias) @ self.encoder.T).relu()
        largest, places = values.topk(self.n_active, dim=1)
        return torch.zeros_like(values).scatter(1, places, largest)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Add up the latents, and the mean."""
        return codes @ self.decoder + self.bias


def learn_sparse_autoencoder(vectors: np.ndarray, n_latents: int, n_active: int, seed: int) -> SparseAutoencoder:
    """Train a top-k sparse autoencoder.

    Parameters
    ----------
    vectors
        (r, C) activations.
    n_latents, n_active
        Number of latents, and of those that a vector is made of.
    seed
        Seed of the start and of the order of the vectors.

    Returns
    -------
    SparseAutoencoder
        Its latents have length 1.
    """
    generator = torch.Generator().manual_seed(seed)
    data = torch.from_numpy(vectors)
    scale = (data - data.mean(dim=0)).square().sum(dim=1).mean().sqrt().clamp(min=FLOOR)
    data = data / scale
    model = SparseAutoencoder(data, n_latents, n_active, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    with torch.enable_grad(), Progress(STEPS, "sparse autoencoder", "steps") as progress:
        for _ in range(STEPS):
            batch = data[torch.randint(len(data), (BATCH,), generator=generator)]
            loss = (model.decode(model.encode(batch)) - batch).square().sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.decoder.copy_(torch.nn.functional.normalize(model.decoder, dim=1))
            progress.advance(1)
    with torch.no_grad():
        model.bias.mul_(scale)
    return model.requires_grad_(False)
