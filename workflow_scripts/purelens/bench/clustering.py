"""The contest of clustering, distances and correlations: the same made-up representations, split and compared in every way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from purelens.bench.comparison import Contest
from purelens.bench.definitions import clusters
from purelens.circuits.alignment import alignment
from purelens.circuits.interpretability import interpretability
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.storage.artifacts import create

N_REFERENCES = 100
N_COMPARED = 50
LOWER, COMPONENTS = "lower", {"relevance": 1024, "mean": 2048, "embedding": 512}
KS = (2, 3, 4, 5)
RESTARTS = 10
BOOTSTRAP = 2000
SAME_INERTIA = 1e-5
"""Relative difference up to which two inertias are of the same clusters, in 32 bits."""
MOST = 0.7


@dataclass(frozen=True)
class Found:
    """What every way computes.

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
class Made:
    """Made-up artifacts of some neurons, and their vectors."""

    folder: Path
    vectors: dict[str, np.ndarray]

    def path(self, name: str) -> str:
        """Path of an artifact."""
        return str(self.folder / f"{name}.h5")


def contest_clustering(folder: Path, n_neurons: int, seed: int) -> Contest:
    """Split the references of neurons by circuits, activations and embeddings for all k, and evaluate it.

    Parameters
    ----------
    folder
        Where the artifacts go.
    n_neurons, seed
        How many neurons, each of 100 references in four groups.
    """
    made = make_up(folder, n_neurons, seed)
    return Contest(
        "clustering",
        {
            "definition": lambda: by_definition(made),
            "published": lambda: as_published(made),
            "purelens": lambda: by_purelens(made),
        },
        _apart,
        "largest difference of a correlation, of a distance within equal clusters, or inertia above scikit-learn's",
        size={"neurons": n_neurons, "references": N_REFERENCES, "methods": 3, "numbers_of_clusters": len(KS)},
    )


def make_up(folder: Path, n_neurons: int, seed: int) -> Made:
    """Write artifacts of neurons whose references fall into groups."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, (n_neurons, N_REFERENCES))
    vectors = {}
    for name, n in COMPONENTS.items():
        center = rng.normal(size=(n_neurons, 4, n))
        drawn = center[np.arange(n_neurons)[:, None], group] + 1.5 * rng.normal(size=(n_neurons, N_REFERENCES, n))
        vectors[name] = drawn.astype(np.float32)
    reference_id = np.arange(n_neurons * N_REFERENCES).reshape(n_neurons, N_REFERENCES)
    made = Made(folder, vectors)
    _write(made, "relevances", f"relevance/{LOWER}", ("neuron", "reference", f"lower_neuron.{LOWER}"), reference_id)
    _write(made, "embeddings", "embedding", ("neuron", "reference", "component"), reference_id)
    with create(made.path("activations"), "activations") as out:
        means = vectors["mean"].reshape(-1, COMPONENTS["mean"])
        out.coordinate("image", len(means))
        out.coordinate("neuron", COMPONENTS["mean"])
        out.variable("mean", data=means)
    return made


def _write(made: Made, name: str, variable: str, dims: tuple[str, ...], reference_id: np.ndarray) -> None:
    """Write the representation of one kind."""
    values = made.vectors[variable.partition("/")[0]]
    with create(made.path(name), name) as out:
        out.references(np.arange(len(values)), reference_id)
        out.coordinate(dims[-1], values.shape[2])
        out.variable(variable, dims=dims, data=values)


def by_definition(made: Made) -> Found:
    """Neuron by neuron and pair by pair."""
    n_neurons = len(made.vectors["embedding"])
    inertia, found = np.zeros((3, len(KS), n_neurons)), np.zeros((3, len(KS), n_neurons, 2))
    correlation = np.zeros((2, n_neurons))
    for neuron in range(n_neurons):
        embedding = made.vectors["embedding"][neuron]
        for method, vectors in enumerate(made.vectors.values()):
            for position, k in enumerate(KS):
                labels, inertia[method, position, neuron] = clusters.split(vectors[neuron], k, RESTARTS)
                found[method, position, neuron] = clusters.distances(embedding, labels)
        for method, name in enumerate(("relevance", "mean")):
            vectors = made.vectors[name][neuron][:N_COMPARED]
            correlation[method, neuron] = clusters.correlation(vectors, embedding[:N_COMPARED])
    return Found(inertia, found, correlation)


def as_published(made: Made) -> Found:
    """One evaluation for each number of clusters, as PURE's program: distances by broadcasting, anew each time."""
    n_neurons = len(made.vectors["embedding"])
    inertia, found = np.zeros((3, len(KS), n_neurons)), np.zeros((3, len(KS), n_neurons, 2))
    correlation = np.zeros((2, n_neurons))
    for position, k in enumerate(KS):
        for neuron in range(n_neurons):
            embedding = made.vectors["embedding"][neuron]
            for method, vectors in enumerate(made.vectors.values()):
                labels, inertia[method, position, neuron] = clusters.split(vectors[neuron], k, RESTARTS)
                apart = _broadcast(embedding)
                same = labels[:, None] == labels[None]
                upper = np.triu(np.ones_like(same), 1)
                found[method, position, neuron] = apart[same & upper].mean(), apart[~same & upper].mean()
            for method, name in enumerate(("relevance", "mean")):
                x, y = _broadcast(made.vectors[name][neuron][:N_COMPARED]), _broadcast(embedding[:N_COMPARED])
                use = np.triu_indices(N_COMPARED, 1)
                correlation[method, neuron] = np.corrcoef(x[use], y[use])[0, 1]
    return Found(inertia, found, correlation)


def _broadcast(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors[None] - vectors[:, None], axis=-1)


def by_purelens(made: Made) -> Found:
    """The stages, with their bootstrap."""
    embeddings, embedders = [made.path("embeddings")], ["clip"]
    virtual_neurons(
        made.path("relevances"), made.path("activations"), embeddings, made.path("virtual_neurons"), embedders, list(KS),
        RESTARTS, random_baseline=False,
    )  # fmt: skip
    table, summary = str(made.folder / "interpretability.csv"), str(made.folder / "summary.csv")
    interpretability(
        made.path("relevances"), made.path("virtual_neurons"), embeddings, table, summary, embedders, BOOTSTRAP
    )
    correlations = str(made.folder / "alignment.csv")
    alignment(
        made.path("relevances"), made.path("activations"), embeddings, correlations, summary, embedders, N_COMPARED,
        bootstrap=BOOTSTRAP,
    )  # fmt: skip
    return _read(made, pd.read_csv(table), pd.read_csv(correlations))


def _read(made: Made, distances: pd.DataFrame, correlations: pd.DataFrame) -> Found:
    """What the stages wrote, in the order of the other ways."""
    with h5py.File(made.path("virtual_neurons")) as file:
        inertia = file["inertia"][...]
    methods = [f"pure:{LOWER}", "activations", "embedder:clip"]
    ordered = distances.set_index(["method", "n_clusters", "neuron"]).sort_index()
    found = np.stack([[ordered.loc[(m, k), ["intra", "inter"]].to_numpy() for k in KS] for m in methods])
    return Found(inertia, found, _column(correlations, methods[:2]))


def _column(table: pd.DataFrame, methods: Sequence[str]) -> np.ndarray:
    return np.stack([table[table["method"] == name].sort_values("neuron")["correlation"] for name in methods])


def _apart(found: Found, wanted: Found) -> float:
    """Largest difference of a correlation, of a distance where the clusters are equal, or inertia above the other's.

    Restarts begin elsewhere, so of neurons without clear clusters another minimum may be found; a lower one is as good.
    """
    above = found.inertia / wanted.inertia - 1
    equal = np.abs(above) < SAME_INERTIA
    distances = np.abs(found.distances / wanted.distances - 1)[equal]
    if equal.mean() < MOST:
        return float("inf")  # too few to compare
    return max(float(np.abs(found.correlation - wanted.correlation).max()), float(above.max()), float(distances.max()))
