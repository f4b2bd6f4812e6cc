"""Compare implementations of linear explanations, on synthetic neurons that are sums of synthetic concepts.

The published program would take hours at the size of PureLens's runs, so it and the definition do a share of the work, and
their times are multiplied: by neurons and, for the ranking, by epochs, which all take the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from purelens.bench.comparison import Comparison
from purelens.bench.definitions import explanations
from purelens.data.splits import TRAIN, VALIDATION, split_images
from purelens.explanations.explain import explain
from purelens.explanations.moments import Moments, concept_moments, with_activations
from purelens.explanations.ranking import rank_concepts, ranked
from purelens.explanations.selection import Covariances, select
from purelens.storage.artifacts import create

N_IMAGES, N_CONCEPTS = 5000, 1000
L1, L1_RATIO, LENGTH, WIDTH, TOLERANCE = 0.05, 0.99, 10, 10, 0.02
EPOCHS, TIMED_EPOCHS, BATCH, RATE = 500, 10, 512, 5e-4
ADAM_STEPS, ADAM_RATE = 100, 0.3
BY_SAGA, BY_LIBRARY, BY_ADAM, BY_LEAST_SQUARES = 128, 16, 2, 8
"""Neurons of the implementations that do a share of the work."""


@dataclass(frozen=True)
class Synthetic:
    """Concepts (N, M), neurons (N, C), and the split of each image (N,)."""

    concepts: np.ndarray
    neurons: np.ndarray
    split: np.ndarray

    def of(self, split: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the concepts and neurons on the images of a split."""
        return self.concepts[self.split == split], self.neurons[self.split == split]


def make_up(n_neurons: int, seed: int, n_images: int = N_IMAGES, n_concepts: int = N_CONCEPTS) -> Synthetic:
    """Draw probabilities of concepts that are correlated in groups, and neurons that are noisy sums of a few concepts.

    Parameters
    ----------
    n_neurons, seed
        C, and the seed.
    n_images, n_concepts
        N and M.

    Returns
    -------
    Synthetic
        Concepts, activations, and the split of the images.
    """
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_images, 50))[:, rng.integers(0, 50, n_concepts)]
    concepts = 1 / (1 + np.exp(-3 * (0.6 * shared + 0.8 * rng.normal(size=shared.shape) - 1)))
    weights = np.zeros((n_concepts, n_neurons))
    for neuron in range(n_neurons):
        weights[rng.choice(n_concepts, 5, replace=False), neuron] = rng.uniform(0.3, 1.5, 5)
    neurons = concepts @ weights + 0.5 * rng.normal(size=(n_images, n_neurons))
    return Synthetic(concepts.astype(np.float32), neurons.astype(np.float32), split_images(n_images, seed))


def write(made: Synthetic, folder: Path) -> tuple[str, str]:
    """Write synthetic neurons as artifacts; return the paths of activations and concepts."""
    folder.mkdir(parents=True, exist_ok=True)
    activations_h5, concepts_h5 = str(folder / "activations.h5"), str(folder / "concepts.h5")
    with create(activations_h5, "activations", storage="half") as out:
        out.coordinate("image", len(made.neurons))
        out.coordinate("neuron", made.neurons.shape[1])
        out.variable("mean", data=made.neurons)
    with create(concepts_h5, "concepts") as out:
        out.coordinate("image", len(made.concepts))
        out.coordinate("concept", made.concepts.shape[1])
        out.variable("concept_label", data=[f"concept {number}" for number in range(made.concepts.shape[1])])
        out.variable("value", data=made.concepts)
        out.variable("kept", data=np.ones(made.concepts.shape[1], dtype=np.uint8))
        out.variable("split", data=made.split)
        for name, value in (("kind", "labels"), ("scale", 1.0), ("bias", 0.0)):
            out.attribute(name, value)
    return activations_h5, concepts_h5


def explain_all(activations_h5: str, concepts_h5: str, explanations_h5: str) -> None:
    """Run the stage ``explain``, without virtual neurons.

    Parameters
    ----------
    activations_h5, concepts_h5, explanations_h5
        Artifacts of the rules ``activations``, ``concepts`` and ``explain``.
    """
    explain(activations_h5, [concepts_h5], [], [], explanations_h5, ["made_up"], "all", "made up")


def moments_of(made: Synthetic, split: int) -> Moments:
    """Compute the moments over the images of a split."""
    concepts, neurons = made.of(split)
    slabs = [slice(start, start + 1024) for start in range(0, len(concepts), 1024)]
    of_concepts = concept_moments((concepts[slab] for slab in slabs), concepts.shape[1])
    return with_activations(of_concepts, ((concepts[slab], neurons[slab]) for slab in slabs), neurons.shape[1])


def compare_ranking(n_neurons: int, seed: int) -> Comparison:
    """Rank the concepts of every neuron by an elastic net."""
    made = make_up(n_neurons, seed)
    return Comparison(
        "explanations_ranking",
        {
            "definition": lambda: _by_library(made, min(BY_LIBRARY, n_neurons)),
            "published": lambda: _by_saga(made, min(BY_SAGA, n_neurons)),
            "purelens": lambda: _by_signs(made),
        },
        lambda result, expected: float(np.abs(result[: len(expected)] - expected).max()),
        "largest difference of a standardized weight; the published program stops before it has converged",
        size={"neurons": n_neurons, "concepts": N_CONCEPTS, "images": N_IMAGES},
        factors={
            "definition": n_neurons / min(BY_LIBRARY, n_neurons),
            "published": n_neurons / min(BY_SAGA, n_neurons) * EPOCHS / TIMED_EPOCHS,
        },
    )


def _by_signs(made: Synthetic) -> np.ndarray:
    moments = moments_of(made, TRAIN)
    fits = [
        rank_concepts(moments.gram, moments.cross[row], moments.variance[row], moments.n, L1, L1_RATIO)[0]
        for row in range(len(moments.cross))
    ]
    return np.stack(fits)


def _by_library(made: Synthetic, n_neurons: int) -> np.ndarray:
    from sklearn.linear_model import ElasticNet

    x, y = _standardized(made, n_neurons)
    model = ElasticNet(alpha=L1 / L1_RATIO, l1_ratio=L1_RATIO, tol=1e-10, max_iter=100_000, fit_intercept=False)
    return np.stack([model.fit(x, column).coef_.copy() for column in y.T])


def _standardized(made: Synthetic, n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    concepts, neurons = (values.astype(np.float64) for values in made.of(TRAIN))
    neurons = neurons[:, :n_neurons]
    x = (concepts - concepts.mean(axis=0)) / concepts.std(axis=0, ddof=1)
    return x, (neurons - neurons.mean(axis=0)) / neurons.std(axis=0, ddof=1)


def _by_saga(made: Synthetic, n_neurons: int) -> np.ndarray:
    """Run some epochs of proximal SAGA for all neurons: stochastic gradients, corrected by a table of the last ones."""
    x, y = (torch.from_numpy(values).float() for values in _standardized(made, n_neurons))
    n = len(x)
    weight = torch.zeros(x.shape[1], y.shape[1])
    table, average = torch.zeros(n, y.shape[1]), torch.zeros_like(weight)
    threshold, shrink = RATE * L1, 1 + RATE * L1 * (1 - L1_RATIO) / L1_RATIO
    generator = torch.Generator().manual_seed(0)
    for _ in range(TIMED_EPOCHS):
        order = torch.randperm(n, generator=generator)
        for start in range(0, n, BATCH):
            rows = order[start : start + BATCH]
            residual = x[rows] @ weight - y[rows]
            change = x[rows].T @ (residual - table[rows])
            weight -= RATE * (change / len(rows) + average)
            average += change / n
            table[rows] = residual
            weight = torch.nn.functional.softshrink(weight, threshold) / shrink
    return weight.T.numpy()


def compare_selection(n_neurons: int, seed: int) -> Comparison:
    """Select the concepts of every neuron from the ranking."""
    made = make_up(n_neurons, seed)
    train = moments_of(made, TRAIN)
    orders = [
        ranked(*rank_concepts(train.gram, train.cross[row], train.variance[row], train.n, L1, L1_RATIO))
        for row in range(n_neurons)
    ]
    return Comparison(
        "explanations_selection",
        {
            "definition": lambda: _by_least_squares(made, orders[:BY_LEAST_SQUARES]),
            "published": lambda: _by_adam(made, orders[:BY_ADAM]),
            "purelens": lambda: _by_moments(made, orders),
        },
        _same_sets,
        "share of neurons with the same concepts",
        size={"neurons": n_neurons, "concepts": N_CONCEPTS, "images": N_IMAGES},
        factors={"definition": n_neurons / BY_LEAST_SQUARES, "published": n_neurons / BY_ADAM},
    )


def _same_sets(result: Sequence[set[int]], expected: Sequence[set[int]]) -> float:
    n = min(len(result), len(expected))
    return sum(one == other for one, other in zip(result[:n], expected[:n], strict=True)) / n


def _by_moments(made: Synthetic, orders: Sequence[np.ndarray]) -> list[set[int]]:
    splits = [moments_of(made, split) for split in (TRAIN, VALIDATION)]
    sets = []
    for row, order in enumerate(orders):
        train, validation = (Covariances(m.gram, m.cross[row], m.variance[row], m.mean, m.mean_y[row]) for m in splits)
        chosen = select(train, validation, order, LENGTH, WIDTH, TOLERANCE)
        sets.append(set(chosen.concepts.tolist()) if chosen else set())
    return sets


def _by_least_squares(made: Synthetic, orders: Sequence[np.ndarray]) -> list[set[int]]:
    (x, y), (x_validation, y_validation) = made.of(TRAIN), made.of(VALIDATION)
    return [
        set(explanations.greedy(x, y[:, row], x_validation, y_validation[:, row], order.tolist())[0])
        for row, order in enumerate(orders)
    ]


def _by_adam(made: Synthetic, orders: Sequence[np.ndarray]) -> list[set[int]]:
    """Run Algorithm 1 (Oikarinen & Weng 2024) with a hundred steps of Adam for each set, from random weights."""
    splits = [tuple(torch.from_numpy(values) for values in made.of(split)) for split in (TRAIN, VALIDATION)]
    (x, y), (x_validation, y_validation) = splits
    sets = []
    for row, order in enumerate(orders):
        chosen: list[int] = []
        bad: set[int] = set()
        best = 0.0
        while len(chosen) < LENGTH:
            tried = [c for c in order.tolist() if c not in chosen and c not in bad][:WIDTH]
            scores = {}
            for c in tried:
                layer = _adam_fit(x[:, [*chosen, c]], y[:, row])
                with torch.no_grad():
                    guess = layer(x_validation[:, [*chosen, c]])[:, 0]
                score = float(torch.corrcoef(torch.stack([guess, y_validation[:, row]]))[0, 1])
                if chosen and score - best < TOLERANCE:
                    bad.add(c)
                else:
                    scores[c] = score
            winner = max(scores, key=lambda c: scores[c], default=None)
            if winner is None or scores[winner] <= best:
                break
            chosen.append(winner)
            best = scores[winner]
        sets.append(set(chosen))
    return sets


def _adam_fit(x: torch.Tensor, y: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=ADAM_RATE)
    for _ in range(ADAM_STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(layer(x)[:, 0], y).backward()
        optimizer.step()
    return layer
