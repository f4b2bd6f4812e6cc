"""The rule ``virtual_neurons``: cluster each neuron's references, by circuits and by the baselines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from purelens.circuits.methods import ACTIVATIONS, PURE, RANDOM
from purelens.circuits.representations import Representations, open_representations
from purelens.circuits.splitting import Split, Splitter
from purelens.progress import Progress
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import read


@dataclass(frozen=True)
class Baselines:
    """What is clustered besides circuits.

    Attributes
    ----------
    joint
        Circuits and activations together.
    activations_baseline
        Mean activations of the layer.
    embedder_baselines
        Embeddings of each embedding model.
    random_baseline
        Nothing: references are split at random.
    """

    joint: bool = True
    activations_baseline: bool = True
    embedder_baselines: bool = True
    random_baseline: bool = True


DEFAULT_BASELINES = Baselines()


def virtual_neurons(
    relevances_h5: str,
    activations_h5: str,
    embeddings: Sequence[str],
    virtual_neurons_h5: str,
    embedders: Sequence[str],
    n_clusters: Sequence[int],
    restarts: int = 30,
    baselines: Baselines = DEFAULT_BASELINES,
    dictionaries_h5: Sequence[str] = (),
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Split each neuron into virtual neurons by k-means on its references, for every method and number of clusters.

    Parameters
    ----------
    relevances_h5, activations_h5, embeddings
        Artifacts of the rules ``relevances``, ``activations`` and ``embeddings``.
    virtual_neurons_h5
        The artifact.
    embedders
        Names of the embedding models, in the order of ``embeddings``.
    n_clusters
        Numbers of clusters.
    restarts
        Restarts of k-means.
    baselines
        What is clustered besides circuits.
    dictionaries_h5
        Artifact of the rule ``dictionaries``, whose codes are clustered too, or none.
    seed
        Seed of the restarts and of the random split.
    execution
        Provenance record.

    Notes
    -----
    The circuit of a virtual neuron is the mean relevance of its references (Dreyer et al. 2024, section 3). The method
    ``joint`` splits in two by leave-one-out ridge regression (see `purelens.numerics.ridge_split`), in more by k-means.
    """
    with read(relevances_h5, "relevances") as file:
        storage = file.storage  # circuits are means of relevances
    means = activations_h5 if baselines.activations_baseline or baselines.joint else None
    if not baselines.embedder_baselines:
        embeddings, embedders = [], []
    with (
        open_representations(
            relevances_h5, means, embeddings, embedders, baselines.joint, dictionaries_h5
        ) as references,
        create(virtual_neurons_h5, "virtual_neurons", execution.provenance, storage=storage) as out,
    ):
        methods = [method for method in references.methods if method != ACTIVATIONS or baselines.activations_baseline]
        methods += [RANDOM] if baselines.random_baseline else []
        _define(out, references, methods, n_clusters)
        splitter = Splitter(references, tuple(n_clusters), restarts, seed)
        with Progress(len(references.neurons), "virtual neurons", "neurons") as progress:
            for start, stop in references.slabs():
                for number, method in enumerate(methods):
                    for position, split in enumerate(splitter.split(method, start, stop)):
                        _write(out, split, method, np.s_[number, position, start:stop])
                progress.advance(stop - start)


def _define(out: Writer, references: Representations, methods: list[str], n_clusters: Sequence[int]) -> None:
    out.coordinate("method_number", len(methods))
    out.coordinate("n_clusters", np.array(n_clusters, dtype="i4"))
    out.references(references.neurons, references.reference_id)
    out.coordinate("virtual_neuron", max(n_clusters))
    out.variable("method", data=methods)
    for name in ("label", "inertia", "silhouette", "seed_stability", "half_stability"):
        out.variable(name)
    for method in methods:
        if method.startswith(PURE):
            lower = method.removeprefix(PURE)
            dim = f"lower_neuron.{lower}"
            out.coordinate(dim, references.loaders[method](0, 1).shape[2])
            out.variable(f"circuit/{lower}", dims=("n_clusters", "neuron", "virtual_neuron", dim))


def _write(out: Writer, split: Split, method: str, place: tuple[int, int, slice]) -> None:
    out["label"][place] = split.label
    out["inertia"][place] = split.inertia
    out["silhouette"][place] = split.silhouette
    out["seed_stability"][place] = split.seed_stability
    out["half_stability"][place] = split.half_stability
    if split.centroid is not None:
        out[f"circuit/{method.removeprefix(PURE)}"][place[1:]] = split.centroid
