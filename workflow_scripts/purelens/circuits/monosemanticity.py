"""The rule ``monosemanticity``: measure how alike the images of neurons, virtual neurons and latents are."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd

from purelens.circuits.methods import CHOSEN, EMBEDDER, NO_SPLIT
from purelens.circuits.summaries import polysemantic_rows, summarize, summarize_subsets
from purelens.errors import UserError
from purelens.numerics.bootstrap import Intervals
from purelens.numerics.image_units import monosemanticity_over_images, unit_length
from purelens.numerics.similarities import STRONGEST, purities, similarities_of_parts, strongest
from purelens.progress import Progress
from purelens.storage.reading import Artifact, Table, read, strings
from purelens.storage.tables import write_table

PERMUTATIONS = 100
"""Random divisions into virtual neurons of the same sizes, whose mean is the null value."""

IMAGES_AT_A_TIME = 2048

SCORES = ("monosemanticity", "index", "purity")
GAINS = tuple(f"{score}_gain" for score in SCORES)

ALL_IMAGES = "units on all images"
"""A mean over neurons and latents as they are, not divided, on all images."""


def monosemanticity(
    images_h5: str,
    activations_h5: str,
    virtual_neurons_h5: str,
    polysemanticity_h5: Sequence[str],
    dictionaries_h5: Sequence[str],
    embeddings: Sequence[str],
    image_embeddings: Sequence[str],
    monosemanticity_csv: str,
    units_csv: str,
    summary_csv: str,
    embedders: Sequence[str],
    intervals: Intervals,
) -> None:
    """Score virtual neurons on the references of their neurons, and neurons and latents on all images.

    Parameters
    ----------
    images_h5, activations_h5, virtual_neurons_h5
        Artifacts of the rules ``dataset``, ``activations`` and ``virtual_neurons``.
    polysemanticity_h5, dictionaries_h5
        Those of the rules ``polysemanticity`` and ``dictionaries``, or none.
    embeddings, image_embeddings
        Those of patches and of whole images, by each embedding model.
    monosemanticity_csv
        A row per neuron, method, number of virtual neurons and embedding model: scores of the virtual neurons, and what is
        gained over random divisions of the references into parts of the same sizes.
    units_csv
        A row per neuron or latent and embedding model: the same scores over all images.
    summary_csv
        Means over neurons with intervals, of all neurons and of the polysemantic ones.
    embedders
        Names of the embedding models, in the order of ``embeddings``.
    intervals
        Settings of the bootstrap; its seed also draws the random divisions.

    Raises
    ------
    UserError
        If there is no embedding model.

    Notes
    -----
    ``monosemanticity``: Pach et al. 2025, with the neuron's activations as weights. ``index``: mean similarity of the five
    strongest images (Klindt et al. 2023). ``purity``: share of the most frequent class. Scores of virtual neurons are means
    over the references that have one. A split by an embedding model is not judged by that model.
    """
    if not embedders:
        raise UserError("monosemanticity: no embedding model embeds patches and images; name one in embedders")
    with ExitStack() as stack:
        images = stack.enter_context(read(images_h5, "dataset"))
        activations = stack.enter_context(read(activations_h5, "activations"))
        clusters = stack.enter_context(read(virtual_neurons_h5, "virtual_neurons"))
        dictionaries = [stack.enter_context(read(path, "dictionaries")) for path in dictionaries_h5]
        classes = images["label"][...]
        splits, chosen = _splits(clusters, polysemanticity_h5)
        neurons, weights = clusters["neuron"][...], _weights(activations, clusters)
        parts, units = [], []
        for name, patches, whole in zip(embedders, embeddings, image_embeddings, strict=True):
            kept = {method: split for method, split in splits.items() if method[0] != EMBEDDER + name}
            with read(patches, "embeddings") as file:
                parts.append(_parts(file, kept, weights, classes, intervals.seed).assign(embedder=name))
            with read(whole, "image_embeddings") as file:
                units.append(_units(activations, neurons, dictionaries, file, classes).assign(embedder=name))
    table = pd.concat(parts, ignore_index=True)
    table.insert(1, "polysemantic", table["neuron"].isin(neurons[chosen]))
    write_table(monosemanticity_csv, table)
    of_units = pd.concat(units, ignore_index=True)
    write_table(units_csv, of_units)
    write_table(summary_csv, _summary(table, of_units, intervals))


def _splits(
    clusters: Artifact, polysemanticity_h5: Sequence[str]
) -> tuple[dict[tuple[str, int], np.ndarray], np.ndarray]:
    """Read labels (C, K) by method and number, 0 where it is chosen; and (C,) bool which neurons are polysemantic."""
    methods, ks = strings(clusters["method"]), clusters["n_clusters"][...].tolist()
    valid = clusters["reference_id"][...] >= 0
    splits = {(NO_SPLIT, 1): np.where(valid, 0, -1)}
    for number, method in enumerate(methods):
        splits |= {(method, k): clusters["label"][number, place] for place, k in enumerate(ks)}
    for path in polysemanticity_h5:
        with read(path, "polysemanticity") as file:
            splits[CHOSEN, 0] = file["label"][...]
    return splits, polysemantic_rows(polysemanticity_h5, len(valid))


def _weights(activations: Artifact, clusters: Artifact) -> np.ndarray:
    """Bring the activations of neurons on their references (C, K) to 0 to 1, over all images."""
    table: Table = activations["max"]
    ids, neurons = clusters["reference_id"][...], clusters["neuron"][...]
    values = np.zeros(ids.shape)
    least, most = np.full(len(neurons), np.inf), np.full(len(neurons), -np.inf)
    for start in range(0, table.shape[0], IMAGES_AT_A_TIME):
        rows = table[start : start + IMAGES_AT_A_TIME][:, neurons].astype(np.float64)
        least, most = np.minimum(least, rows.min(axis=0)), np.maximum(most, rows.max(axis=0))
        neuron, place = np.nonzero((ids >= start) & (ids < start + len(rows)))
        values[neuron, place] = rows[ids[neuron, place] - start, neuron]
    span = np.where(most > least, most - least, 1)
    return np.where(ids >= 0, (values - least[:, None]) / span[:, None], 0)


def _parts(
    embeddings: Artifact, splits: dict[tuple[str, int], np.ndarray], weights: np.ndarray, classes: np.ndarray, seed: int
) -> pd.DataFrame:
    """Score the virtual neurons of all neurons in one embedding."""
    ids, neurons, table = embeddings["reference_id"][...], embeddings["neuron"][...], embeddings["embedding"]
    rows = []
    with Progress(len(neurons), "monosemanticity", "neurons") as progress:
        for row, neuron in enumerate(neurons.tolist()):
            there = np.flatnonzero(ids[row] >= 0)
            vectors = unit_length(table[row : row + 1][0][there])
            similarity = vectors @ vectors.T
            for (method, k), split in splits.items():
                of_images = weights[row, there], classes[ids[row, there]], split[row, there]
                scored = score_parts(similarity, *of_images, [seed, neuron])
                rows.append({"neuron": neuron, "method": method, "n_clusters": k, **scored})
            progress.advance(1)
    return pd.DataFrame(rows)


def score_parts(
    similarity: np.ndarray, weight: np.ndarray, classes: np.ndarray, labels: np.ndarray, seed: list[int]
) -> dict[str, float]:
    """Score the virtual neurons of one neuron, and the gain of each score over random divisions.

    Parameters
    ----------
    similarity
        (n, n) cosine similarities of the references, best first.
    weight
        (n,) their activations, 0 to 1.
    classes
        (n,) their classes, -1 for none.
    labels
        (n,) their virtual neurons, -1 for none.
    seed
        Of the random divisions.

    Returns
    -------
    dict
        ``n_parts``, and ``{score}``, ``{score}_null`` and ``{score}_gain`` for each score.
    """
    used = labels >= 0
    similarity, weight, classes, labels = similarity[np.ix_(used, used)], weight[used], classes[used], labels[used]
    n_parts = int(labels.max(initial=-1)) + 1
    scored: dict[str, float] = {"n_parts": n_parts}
    if not n_parts:
        nothing = [f"{score}{kind}" for score in SCORES for kind in ("", "_null", "_gain")]
        return scored | dict.fromkeys(nothing, float("nan"))
    rng = np.random.default_rng(seed)
    n_drawn = PERMUTATIONS if n_parts > 1 else 0
    divisions = np.stack([labels, *(rng.permutation(labels) for _ in range(n_drawn))])
    first = strongest(divisions, n_parts)
    values = {
        "monosemanticity": similarities_of_parts(similarity, weight, divisions, n_parts),
        "index": similarities_of_parts(similarity, np.ones(len(labels)), np.where(first, divisions, -1), n_parts),
        "purity": purities(classes, divisions, n_parts),
    }
    sizes = np.bincount(labels, minlength=n_parts).astype(float)
    for name in SCORES:
        means = _over_references(values[name], sizes)
        null = float(np.nanmean(means[1:])) if np.isfinite(means[1:]).any() else float("nan")
        scored |= {name: float(means[0]), f"{name}_null": null, f"{name}_gain": float(means[0]) - null}
    return scored


def _over_references(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Average scores (P, k) over parts by their sizes (k,); parts without a score do not count."""
    there = np.isfinite(values)
    weight = np.where(there, sizes, 0)
    with np.errstate(invalid="ignore"):
        return (np.where(there, values, 0) * weight).sum(axis=1) / weight.sum(axis=1)


@dataclass(frozen=True)
class Units:
    """Units of one kind, with their activations on all images.

    Attributes
    ----------
    kind
        ``neuron``, or the name of a dictionary.
    number
        (U,) their numbers.
    activation
        (N, columns) largest activation on each image.
    columns
        Which columns are theirs.
    reference_id
        (U, K) their references; -1: none.
    """

    kind: str
    number: np.ndarray
    activation: Table
    columns: np.ndarray | slice
    reference_id: np.ndarray


def _units(
    activations: Artifact,
    neurons: np.ndarray,
    dictionaries: Sequence[Artifact],
    embeddings: Artifact,
    classes: np.ndarray,
) -> pd.DataFrame:
    """Score neurons and latents over all images in one embedding."""
    table, references = activations["max"], activations["reference_id"][...][neurons]
    columns = neurons if len(neurons) < table.shape[1] else slice(None)
    units = [Units("neuron", neurons, table, columns, references)]
    for file in dictionaries:
        for name in file.names("max"):
            codes, references = file[f"max/{name}"], file[f"reference_id/{name}"][...]
            units.append(Units(name, np.arange(codes.shape[1]), codes, slice(None), references))
    return pd.concat([_scored(some, embeddings["embedding"], classes) for some in units], ignore_index=True)


def _scored(units: Units, embedding: Table, classes: np.ndarray) -> pd.DataFrame:
    """Score units of one kind over all images: a row each."""

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(classes), IMAGES_AT_A_TIME):
            rows = slice(start, start + IMAGES_AT_A_TIME)
            yield units.activation[rows][:, units.columns], embedding[rows]

    over_images = monosemanticity_over_images(batches())
    rows = []
    for ids in units.reference_id:
        there = np.flatnonzero(ids >= 0)
        whole = np.zeros((1, len(there)), dtype=int)
        strong = np.sort(ids[there[:STRONGEST]])
        vectors = unit_length(embedding[strong]) if len(strong) else np.zeros((0, 1))
        similarity, all_of_them = vectors @ vectors.T, np.zeros((1, len(strong)), dtype=int)
        rows.append(
            {
                "n_references": len(there),
                "index": similarities_of_parts(similarity, np.ones(len(strong)), all_of_them, 1)[0, 0],
                "purity": purities(classes[ids[there]], whole, 1)[0, 0],
            }
        )
    table = pd.DataFrame({"kind": units.kind, "unit": units.number, "monosemanticity": over_images.monosemanticity})
    return pd.concat([table.assign(all_images=over_images.null), pd.DataFrame(rows)], axis=1)


def _summary(table: pd.DataFrame, units: pd.DataFrame, intervals: Intervals) -> pd.DataFrame:
    """Estimate means over neurons, all and polysemantic, and over the units of each kind."""
    of_parts = summarize_subsets(table, [*SCORES, *GAINS], GAINS, intervals)
    over_images = units.rename(columns={"kind": "method"}).assign(n_clusters=1)
    of_units = summarize(over_images, ["all_images", *SCORES], intervals).assign(subset=ALL_IMAGES)
    return pd.concat([of_parts, of_units], ignore_index=True)
