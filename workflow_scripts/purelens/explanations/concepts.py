"""The rule ``concepts``: find which concept is how probable on which image."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from purelens.data.dataset import Images, open_images
from purelens.data.splits import TRAIN, split_images
from purelens.data.vocabulary import Texts, read_imported, read_superclasses, read_texts
from purelens.errors import UserError, listed
from purelens.explanations.calibration import calibrate, probability
from purelens.explanations.table import LABELS, TEXTS
from purelens.networks.embedders import encode_texts
from purelens.networks.embedding_files import read_embeddings
from purelens.storage.artifacts import Writer, create
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Table, read, strings

logger = logging.getLogger("purelens")

SLAB_IMAGES = 1024
N_LARGEST, MIN_DEVIATION = 5, 1e-5
"""A concept passes the filter if the mean of its five largest probabilities is large enough, and it is not constant."""

MAX_FREQUENCY = 0.3
"""Labels that more images have take no part in the calibration: such superclasses outweigh all classes."""


def concepts(
    images_h5: str,
    image_embeddings_h5: Sequence[str],
    others: Sequence[str],
    concepts_h5: str,
    settings: Mapping[str, Any],
    embedder: Mapping[str, Any] | None = None,
    imported: Sequence[str] = (),
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Compute how probable each concept of a set is on each image.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    image_embeddings_h5
        The artifact of the embedding model that knows the texts; none for labels.
    others
        Artifacts of the other sets, whose names ``source: all`` takes.
    concepts_h5
        The artifact.
    settings
        Configuration of the set (see `purelens.config.explain.Concepts`).
    embedder
        Configuration of the embedding model.
    imported
        Files of imported explanations, whose concepts ``source: all`` takes too.
    seed
        Seed of the split of the images, and of random weights.
    execution
        Provenance record.

    Raises
    ------
    UserError
        If there is nothing to calibrate by, or files do not fit.
    """
    with open_images(images_h5) as images, create(concepts_h5, "concepts", execution.provenance) as out:
        split = split_images(len(images), seed)
        if settings["source"] == LABELS:
            concept_set = _of_labels(images, settings, split)
        else:
            model = TextModel(settings, embedder or {}, seed)
            concept_set = _of_texts(images, image_embeddings_h5[0], model, _texts(settings, others, imported), split)
        _write(out, concept_set, split)


@dataclass(frozen=True)
class ConceptSet:
    """A concept set on the images.

    Attributes
    ----------
    names
        (M,) names of the concepts.
    values
        (N, M) truth, or cosines of images and texts.
    kept
        (M,) bool, whether they pass the filter.
    kind
        ``labels`` or ``texts``.
    scale, bias
        Of the probability of a text (see `purelens.explanations.calibration`).
    """

    names: list[str]
    values: np.ndarray
    kept: np.ndarray
    kind: str
    scale: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True)
class TextModel:
    """Embed the texts of a concept set, by a file or by the text tower of an embedding model.

    Attributes
    ----------
    settings, embedder
        Configurations of the concept set and of the embedding model.
    seed
        Seed of random weights.
    """

    settings: Mapping[str, Any]
    embedder: Mapping[str, Any]
    seed: int

    @property
    def path(self) -> str | None:
        """File of embeddings of the texts; None: the model embeds them."""
        return self.settings.get("text_embeddings")

    def prompt(self, names: Sequence[str]) -> list[str]:
        """Return the prompts of concepts: those of the list of texts, else made by the template."""
        listed_texts = self.settings.get("texts")
        texts = read_texts(listed_texts, self.settings["template"]) if listed_texts else Texts([], [])
        known = dict(zip(texts.names, texts.prompts, strict=True))
        return [known.get(name, self.settings["template"].replace("{}", name)) for name in names]

    def embed(self, prompts: Sequence[str]) -> np.ndarray:
        """Embed prompts (n,) with the text tower: (n, D)."""
        return encode_texts(self.embedder["architecture"], self.embedder["weights"], prompts, seed=self.seed)


def _of_labels(images: Images, settings: Mapping[str, Any], split: np.ndarray) -> ConceptSet:
    names, truth = label_columns(images, settings.get("superclasses"))
    if not names:
        raise UserError("concepts: the images have neither labels nor concepts; take texts")
    n_unknown = int((images.file["label"][...] < 0).sum())
    if n_unknown and "concept" not in images.file:
        logger.warning(
            "%d of %d images have no label; they count as having none of the concepts", n_unknown, len(images)
        )
    kept = passes_filter(truth[split == TRAIN], settings.get("min_probability", 0.5))
    return ConceptSet(names, truth, kept, LABELS)


def _of_texts(
    images: Images, image_embeddings_h5: str, model: TextModel, texts: Texts, split: np.ndarray
) -> ConceptSet:
    settings, train = model.settings, split == TRAIN
    vectors = _text_vectors(model, texts)
    with read(image_embeddings_h5, "image_embeddings") as file:
        cosine = cosines(file["embedding"], vectors)
    scale, bias = settings.get("scale"), settings.get("bias")
    if scale is None or bias is None:
        scale, bias = _calibration(model, images, image_embeddings_h5, train)
    kept = passes_filter(probability(cosine[train], scale, bias), settings.get("min_probability", 0.5))
    return ConceptSet(texts.names, cosine, kept, TEXTS, scale, bias)


def label_columns(images: Images, superclasses: str | None) -> tuple[list[str], np.ndarray]:
    """List what is known of the images: classes, superclasses and labeled concepts.

    Parameters
    ----------
    images
        The images.
    superclasses
        A file of superclasses; None: none.

    Returns
    -------
    names : list of str
        M names. One that occurs twice is true where either is.
    truth : numpy.ndarray
        (N, M) float32, 0 or 1.
    """
    label = images.file["label"][...]
    classes = strings(images.file["class_name"])
    columns: dict[str, np.ndarray] = {}

    def add(name: str, column: np.ndarray) -> None:
        columns[name] = np.maximum(columns.get(name, 0), column)

    for place, name in enumerate(classes):
        add(name, label == place)
    for name, members in (read_superclasses(superclasses, classes) if superclasses else {}).items():
        add(name, np.isin(label, members))
    if "concept" in images.file:
        for name, column in zip(strings(images.file["concept_label"]), images.file["concept"][...].T, strict=True):
            add(name, column > 0)
    if not columns:
        return [], np.zeros((len(label), 0), dtype=np.float32)
    return list(columns), np.stack(list(columns.values()), axis=1).astype(np.float32)


def passes_filter(probabilities: np.ndarray, min_probability: float = 0.5) -> np.ndarray:
    """Find the concepts (M,) that are probable on some of the images (n, M) and not constant over all of them."""
    n_largest = min(N_LARGEST, len(probabilities))
    if not n_largest:
        return np.zeros(probabilities.shape[1], dtype=bool)
    largest = np.partition(probabilities, len(probabilities) - n_largest, axis=0)[-n_largest:]
    deviation = probabilities.std(axis=0, ddof=1) if len(probabilities) > 1 else np.zeros(probabilities.shape[1])
    return (largest.mean(axis=0) >= min_probability) & (deviation >= MIN_DEVIATION)


def cosines(embedding: Table, vectors: np.ndarray) -> np.ndarray:
    """Compute the cosines (N, M) float32 of images with texts.

    Parameters
    ----------
    embedding
        (N, D) embeddings of the images.
    vectors
        (M, D) embeddings of the texts.

    Raises
    ------
    UserError
        If their lengths differ.
    """
    if embedding.shape[1] != vectors.shape[1]:
        raise UserError(f"concepts: images have {embedding.shape[1]} components, texts {vectors.shape[1]}")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = np.empty((len(embedding), len(vectors)), dtype=np.float32)
    for start in range(0, len(embedding), SLAB_IMAGES):
        rows = embedding[start : start + SLAB_IMAGES].astype(np.float64)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        cosine[start : start + len(rows)] = rows @ unit.T
    return cosine


def _texts(settings: Mapping[str, Any], others: Sequence[str], imported: Sequence[str]) -> Texts:
    """List the texts of a set: those of a file, or the names of all other sets."""
    if settings["source"] == TEXTS:
        return read_texts(settings["texts"], settings["template"])
    names: dict[str, None] = {}
    for path in others:
        with read(path, "concepts") as file:
            names.update(dict.fromkeys(strings(file["concept_label"])))
    for path in imported:
        for explanation in read_imported(path).values():
            names.update(dict.fromkeys(explanation.names))
    return Texts(list(names), TextModel(settings, {}, 0).prompt(list(names)))


def _text_vectors(model: TextModel, texts: Texts) -> np.ndarray:
    """Embed texts: (M, D)."""
    if not model.path:
        return model.embed(texts.prompts)
    vectors = read_embeddings(model.path)
    if len(vectors) != len(texts.names):
        raise UserError(
            f"concepts: {model.path} has {len(vectors)} rows for {len(texts.names)} different texts; "
            "empty lines and repeated ones have no row"
        )
    return vectors


def _calibration(model: TextModel, images: Images, image_embeddings_h5: str, train: np.ndarray) -> tuple[float, float]:
    """Fit scale and bias on the training images, whose labels are known, with the names of the labels as texts."""
    names, truth = label_columns(images, model.settings.get("superclasses"))
    if "concept" not in images.file:
        train = train & (images.file["label"][...] >= 0)  # nothing is known of the others
    usable = (truth[train].mean(axis=0) <= MAX_FREQUENCY) & (truth[train].sum(axis=0) > 0)
    row_of: dict[str, int] = {}
    if model.path:
        row_of = {name: row for row, name in enumerate(read_texts(model.settings["texts"]).names)}
        usable &= np.array([name in row_of for name in names], dtype=bool)
    if not usable.any():
        raise UserError(
            "concepts: scale and bias are to be fitted to labels, but no label of the images is among the texts; "
            "give scale and bias"
        )
    chosen = [name for name, use in zip(names, usable, strict=True) if use]
    if model.path:
        vectors = read_embeddings(model.path)[[row_of[name] for name in chosen]]
    else:
        vectors = model.embed(model.prompt(chosen))
    with read(image_embeddings_h5, "image_embeddings") as file:
        cosine = cosines(file["embedding"], vectors)[train]
    labels = truth[train][:, usable]

    def slabs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(cosine), SLAB_IMAGES):
            yield cosine[start : start + SLAB_IMAGES], labels[start : start + SLAB_IMAGES]

    scale, bias, loss = calibrate(slabs)
    if not scale > 0:
        raise UserError(
            f"concepts: images are no closer to texts that are true of them than to others (scale {scale:.3g}); "
            "give scale and bias, or another embedder"
        )
    logger.info("calibrated on %d labels: scale %.4g, bias %.4g, cross-entropy %.4g", len(chosen), scale, bias, loss)
    return scale, bias


def _write(out: Writer, concept_set: ConceptSet, split: np.ndarray) -> None:
    out.coordinate("image", len(concept_set.values))
    out.coordinate("concept", len(concept_set.names))
    out.variable("concept_label", data=concept_set.names)
    out.variable("value", data=concept_set.values)
    out.variable("kept", data=concept_set.kept.astype(np.uint8))
    out.variable("split", data=split)
    for name in ("kind", "scale", "bias"):
        out.attribute(name, getattr(concept_set, name))
    logger.info("%d concepts, %d of them kept", len(concept_set.names), int(concept_set.kept.sum()))
    if not concept_set.kept.all():
        dropped = [name for name, keep in zip(concept_set.names, concept_set.kept, strict=True) if not keep]
        logger.info("dropped: %s", listed(dropped))
