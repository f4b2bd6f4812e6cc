"""Compare implementations of clustering, distances and correlations, on the same synthetic representations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from purelens.bench.comparison import Comparison
from purelens.bench.definitions import clusters
from purelens.circuits.alignment import alignment
from purelens.circuits.interpretability import interpretability
from purelens.circuits.methods import ACTIVATIONS, EMBEDDER, PURE
from purelens.circuits.virtual_neurons import Baselines, virtual_neurons
from purelens.numerics.bootstrap import Intervals
from purelens.storage.artifacts import create
from purelens.storage.reading import read

N_REFERENCES = 100
N_COMPARED = 50
LOWER, COMPONENTS = "lower", {"relevance": 1024, "mean": 2048, "embedding": 512}
KS = (2, 3, 4, 5)
RESTARTS = 10
BOOTSTRAP = 2000
SAME_INERTIA = 1e-5
"""Relative difference up to which two inertias are those of the same clusters, in 32 bits."""
MIN_COMPARED = 0.7
"""Share of clusterings that must be equal for a comparison of distances."""


@dataclass(frozen=True)
class Evaluation:
    """What every implementation computes.

    Attributes
    ----------
    inertia
        (methods, k, neurons).
    distances
        (methods, k, neurons, 2) intra and inter.
    correlation
        (2, neurons) of PURE and of activations with the embedder.
    """

    inertia: np.ndarray
    distances: np.ndarray
    correlation: np.ndarray


@dataclass(frozen=True)
class Synthetic:
    """Synthetic artifacts of some neurons, and their vectors."""

    folder: Path
    vectors: dict[str, np.ndarray]

    def path(self, name: str) -> str:
        """Return the path of an artifact."""
        return str(self.folder / f"{name}.h5")


def compare_clustering(folder: Path, n_neurons: int, seed: int) -> Comparison:
    """Split the references of neurons by circuits, activations and embeddings for all k, and evaluate it.

    Parameters
    ----------
    folder
        Where the artifacts go.
    n_neurons, seed
        Number of neurons, each with 100 references in four groups, and the seed.

    Returns
    -------
    Comparison
        Times and differences of the implementations.
    """
    made = make_up(folder, n_neurons, seed)
    return Comparison(
        "clustering",
        {
            "definition": lambda: by_definition(made),
            "published": lambda: as_published(made),
            "purelens": lambda: by_purelens(made),
        },
        _difference,
        "largest of: difference of a correlation, of a distance where clusters are equal, inertia above that of scikit-learn",
        size={"neurons": n_neurons, "references": N_REFERENCES, "methods": 3, "numbers_of_clusters": len(KS)},
    )


def make_up(folder: Path, n_neurons: int, seed: int) -> Synthetic:
    """Write artifacts of neurons whose references fall into four groups.

    Parameters
    ----------
    folder
        Where they go.
    n_neurons, seed
        Number of neurons, and the seed.

    Returns
    -------
    Synthetic
        Paths of the artifacts, and what they hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, (n_neurons, N_REFERENCES))
    vectors = {}
    for name, n in COMPONENTS.items():
        center = rng.normal(size=(n_neurons, 4, n))
        drawn = center[np.arange(n_neurons)[:, None], group] + 1.5 * rng.normal(size=(n_neurons, N_REFERENCES, n))
        vectors[name] = drawn.astype(np.float32)
    reference_id = np.arange(n_neurons * N_REFERENCES).reshape(n_neurons, N_REFERENCES)
    made = Synthetic(folder, vectors)
    _write(made, "relevances", f"relevance/{LOWER}", ("neuron", "reference", f"lower_neuron.{LOWER}"), reference_id)
    _write(made, "embeddings", "embedding", ("neuron", "reference", "component"), reference_id)
    with create(made.path("activations"), "activations") as out:
        means = vectors["mean"].reshape(-1, COMPONENTS["mean"])
        out.coordinate("image", len(means))
        out.coordinate("neuron", COMPONENTS["mean"])
        out.variable("mean", data=means)
    return made


def _write(made: Synthetic, name: str, variable: str, dims: tuple[str, ...], reference_id: np.ndarray) -> None:
    """Write the representations of one kind."""
    values = made.vectors[variable.partition("/")[0]]
    with create(made.path(name), name) as out:
        out.references(np.arange(len(values)), reference_id)
        out.coordinate(dims[-1], values.shape[2])
        out.variable(variable, dims=dims, data=values)


def by_definition(made: Synthetic) -> Evaluation:
    """Compute neuron by neuron and pair by pair."""
    n_neurons = len(made.vectors["embedding"])
    inertia, distances = np.zeros((3, len(KS), n_neurons)), np.zeros((3, len(KS), n_neurons, 2))
    correlation = np.zeros((2, n_neurons))
    for neuron in range(n_neurons):
        embedding = made.vectors["embedding"][neuron]
        for method, vectors in enumerate(made.vectors.values()):
            for position, k in enumerate(KS):
                labels, inertia[method, position, neuron] = clusters.split(vectors[neuron], k, RESTARTS)
                distances[method, position, neuron] = clusters.distances(embedding, labels)
        for method, name in enumerate(("relevance", "mean")):
            vectors = made.vectors[name][neuron][:N_COMPARED]
            correlation[method, neuron] = clusters.correlation(vectors, embedding[:N_COMPARED])
    return Evaluation(inertia, distances, correlation)


def as_published(made: Synthetic) -> Evaluation:
    """Evaluate each number of clusters on its own, as the program of PURE: distances by broadcasting, each time again."""
    n_neurons = len(made.vectors["embedding"])
    inertia, distances = np.zeros((3, len(KS), n_neurons)), np.zeros((3, len(KS), n_neurons, 2))
    correlation = np.zeros((2, n_neurons))
    for position, k in enumerate(KS):
        for neuron in range(n_neurons):
            embedding = made.vectors["embedding"][neuron]
            for method, vectors in enumerate(made.vectors.values()):
                labels, inertia[method, position, neuron] = clusters.split(vectors[neuron], k, RESTARTS)
                pairwise = _broadcast(embedding)
                same = labels[:, None] == labels[None]
                upper = np.triu(np.ones_like(same), 1)
                distances[method, position, neuron] = pairwise[same & upper].mean(), pairwise[~same & upper].mean()
            for method, name in enumerate(("relevance", "mean")):
                x, y = _broadcast(made.vectors[name][neuron][:N_COMPARED]), _broadcast(embedding[:N_COMPARED])
                use = np.triu_indices(N_COMPARED, 1)
                correlation[method, neuron] = np.corrcoef(x[use], y[use])[0, 1]
    return Evaluation(inertia, distances, correlation)


def _broadcast(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors[None] - vectors[:, None], axis=-1)


def by_purelens(made: Synthetic) -> Evaluation:
    """Run the stages, with their bootstrap."""
    embeddings, embedders, intervals = [made.path("embeddings")], ["clip"], Intervals(bootstrap=BOOTSTRAP)
    virtual_neurons(
        made.path("relevances"), made.path("activations"), embeddings, made.path("virtual_neurons"), embedders, list(KS),
        RESTARTS, Baselines(joint=False, random_baseline=False),
    )  # fmt: skip
    table, summary = str(made.folder / "interpretability.csv"), str(made.folder / "summary.csv")
    interpretability(
        made.path("relevances"), made.path("virtual_neurons"), embeddings, table, summary, embedders, intervals
    )
    correlations = str(made.folder / "alignment.csv")
    alignment(
        made.path("relevances"), made.path("activations"), embeddings, correlations, summary, embedders, intervals,
        N_COMPARED,
    )  # fmt: skip
    return _read(made, pd.read_csv(table), pd.read_csv(correlations))


def _read(made: Synthetic, distances: pd.DataFrame, correlations: pd.DataFrame) -> Evaluation:
    """Read what the stages wrote, in the order of the other implementations."""
    with read(made.path("virtual_neurons"), "virtual_neurons") as file:
        inertia = file["inertia"][...]
    methods = [PURE + LOWER, ACTIVATIONS, f"{EMBEDDER}clip"]
    ordered = distances.set_index(["method", "n_clusters", "neuron"]).sort_index()
    of_pairs = np.stack([[ordered.loc[(m, k), ["intra", "inter"]].to_numpy() for k in KS] for m in methods])
    return Evaluation(inertia, of_pairs, _column(correlations, methods[:2]))


def _column(table: pd.DataFrame, methods: Sequence[str]) -> np.ndarray:
    return np.stack([table[table["method"] == name].sort_values("neuron")["correlation"] for name in methods])


def _difference(result: Evaluation, expected: Evaluation) -> float:
    """Return the largest difference of a correlation, of a distance where clusters are equal, or the excess of an inertia.

    Restarts begin at other points, so for neurons without clear clusters another minimum may be reached; a lower one is as
    good.
    """
    excess = result.inertia / expected.inertia - 1
    equal = np.abs(excess) < SAME_INERTIA
    if equal.mean() < MIN_COMPARED:
        return float("inf")
    distances = np.abs(result.distances / expected.distances - 1)[equal]
    correlations = np.abs(result.correlation - expected.correlation)
    return max(float(correlations.max()), float(excess.max()), float(distances.max()))
