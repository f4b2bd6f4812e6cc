"""The rule ``concepts``: which concepts are on which image."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from purelens.data.dataset import Images, open_images
from purelens.data.splits import TRAIN, split_images
from purelens.data.vocabulary import Texts, read_elsewhere, read_superclasses, read_texts
from purelens.errors import UserError, listed
from purelens.explanations.calibration import calibrate, probability
from purelens.explanations.table import LABELS, TEXTS
from purelens.networks.embedders import encode_texts, read_embeddings
from purelens.storage.artifacts import Rows, Writer, create, read, strings
from purelens.storage.provenance import Provenance

logger = logging.getLogger("purelens")

SLAB_IMAGES = 1024
LARGEST, LEAST_DEVIATION = 5, 1e-5
"""A concept is kept if the mean of its five largest probabilities is large enough, and it is not constant."""

WIDEST = 0.3
"""Largest share of the classes in a superclass that takes part in the calibration."""


def concepts(
    images_h5: str,
    image_embeddings_h5: Sequence[str],
    others: Sequence[str],
    concepts_h5: str,
    settings: Mapping[str, Any],
    embedder: Mapping[str, Any] | None = None,
    elsewhere: Sequence[str] = (),
    seed: int = 0,
    provenance: Provenance | None = None,
) -> None:
    """Say how likely each concept is on each image.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    image_embeddings_h5
        The artifact of the embedder that knows the texts; none for labels.
    others
        Artifacts of the other sets, whose names ``source: all`` takes.
    concepts_h5
        The artifact.
    settings
        The configuration of the set (see `purelens.config.explain.Concepts`).
    embedder
        Configuration of the embedder.
    elsewhere
        Files of explanations from elsewhere, whose concepts ``source: all`` takes too.
    seed
        Of the split of the images.
    provenance
        What the artifact is made from.

    Raises
    ------
    UserError
        If there is nothing to calibrate by, or files do not fit.
    """
    with open_images(images_h5) as images, create(concepts_h5, "concepts", provenance) as out:
        part, least = split_images(len(images), seed), settings.get("least_probability", 0.5)
        names, truth = label_columns(images, settings.get("superclasses"))
        if settings["source"] == LABELS:
            if not names:
                raise UserError("concepts: the images have neither labels nor concepts; take texts")
            n_unknown = int((images.file["label"][...] < 0).sum())
            if n_unknown and "concept" not in images.file:
                logger.warning(
                    "%d of %d images have no label; they count as having none of the concepts", n_unknown, len(images)
                )
            _write(out, names, truth, part, kept(truth[part == TRAIN], least), LABELS, 1.0, 0.0)
            return
        texts = _texts(settings, others, elsewhere)
        vectors = _text_vectors(settings, embedder or {}, texts, seed)
        with read(image_embeddings_h5[0], "image_embeddings") as file:
            cosine = cosines(Rows(file, "embedding"), vectors)
        scale, bias = settings.get("scale"), settings.get("bias")
        if scale is None or bias is None:
            scale, bias = _calibration(settings, embedder or {}, images, image_embeddings_h5[0], part == TRAIN, seed)
        chosen = kept(probability(cosine[part == TRAIN], scale, bias), least)
        _write(out, texts.names, cosine, part, chosen, TEXTS, scale, bias)


def label_columns(images: Images, superclasses: str | None) -> tuple[list[str], np.ndarray]:
    """Names (M,) and truth (N, M) of classes, of superclasses, and of what the dataset says is on its images.

    A name that is there twice is true where either is.
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


def kept(probabilities: np.ndarray, least: float = 0.5) -> np.ndarray:
    """Which concepts (M,) are surely enough on some images (n, M) and not on all of them."""
    n_largest = min(LARGEST, len(probabilities))
    if not n_largest:
        return np.zeros(probabilities.shape[1], dtype=bool)
    largest = np.partition(probabilities, len(probabilities) - n_largest, axis=0)[-n_largest:]
    deviation = probabilities.std(axis=0, ddof=1) if len(probabilities) > 1 else np.zeros(probabilities.shape[1])
    return (largest.mean(axis=0) >= least) & (deviation >= LEAST_DEVIATION)


def cosines(embedding: Rows, vectors: np.ndarray) -> np.ndarray:
    """Cosines (N, M) float32 of images with texts (M, D)."""
    if embedding.shape[1] != vectors.shape[1]:
        raise UserError(f"concepts: images have {embedding.shape[1]} components, texts {vectors.shape[1]}")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = np.empty((len(embedding), len(vectors)), dtype=np.float32)
    for start in range(0, len(embedding), SLAB_IMAGES):
        rows = embedding[start : start + SLAB_IMAGES].astype(np.float64)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        found[start : start + len(rows)] = rows @ unit.T
    return found


def _texts(settings: Mapping[str, Any], others: Sequence[str], elsewhere: Sequence[str]) -> Texts:
    """The texts of a set: those of a file, or the names of all other sets."""
    if settings["source"] == TEXTS:
        return read_texts(settings["texts"], settings["template"])
    names: dict[str, None] = {}
    for path in others:
        with read(path, "concepts") as file:
            names.update(dict.fromkeys(strings(file["concept_label"])))
    for path in elsewhere:
        for explanation in read_elsewhere(path).values():
            names.update(dict.fromkeys(explanation.names))
    prompts = read_texts(settings["texts"], settings["template"]) if settings.get("texts") else Texts([], [])
    known = dict(zip(prompts.names, prompts.prompts, strict=True))
    return Texts(list(names), [known.get(name, settings["template"].replace("{}", name)) for name in names])


def _text_vectors(settings: Mapping[str, Any], embedder: Mapping[str, Any], texts: Texts, seed: int) -> np.ndarray:
    """Embeddings (M, D) of texts, from a file or from the embedder's own language model."""
    if settings.get("text_embeddings"):
        vectors = read_embeddings(settings["text_embeddings"])
        if len(vectors) != len(texts.names):
            raise UserError(
                f"concepts: {settings['text_embeddings']} has {len(vectors)} rows for {len(texts.names)} different texts; "
                "empty lines and repeated ones have no row"
            )
        return vectors
    return encode_texts(embedder["architecture"], embedder["weights"], texts.prompts, seed=seed)


def _calibration(
    settings: Mapping[str, Any],
    embedder: Mapping[str, Any],
    images: Images,
    image_embeddings_h5: str,
    train: np.ndarray,
    seed: int,
) -> tuple[float, float]:
    """Fit scale and bias on the training images, whose labels are known, by the names of these labels as texts."""
    names, truth = label_columns(images, settings.get("superclasses"))
    if "concept" not in images.file:
        train = train & (images.file["label"][...] >= 0)  # of the others it is not known what is on them
    usable = (truth[train].mean(axis=0) <= WIDEST) & (truth[train].sum(axis=0) > 0)
    if settings.get("text_embeddings"):
        known = {name: place for place, name in enumerate(read_texts(settings["texts"]).names)}
        usable &= np.array([name in known for name in names], dtype=bool)
    if not usable.any():
        raise UserError(
            "concepts: scale and bias are to be fitted to labels, but no label of the images is among the texts; "
            "give scale and bias"
        )
    chosen = [name for name, use in zip(names, usable, strict=True) if use]
    if settings.get("text_embeddings"):
        vectors = read_embeddings(settings["text_embeddings"])[[known[name] for name in chosen]]
    else:
        prompts = read_texts(settings["texts"], settings["template"]) if settings.get("texts") else Texts([], [])
        sentences = dict(zip(prompts.names, prompts.prompts, strict=True))
        vectors = encode_texts(
            embedder["architecture"], embedder["weights"],
            [sentences.get(name, settings["template"].replace("{}", name)) for name in chosen], seed=seed,
        )  # fmt: skip
    with read(image_embeddings_h5, "image_embeddings") as file:
        cosine = cosines(Rows(file, "embedding"), vectors)[train]
    wanted = truth[train][:, usable]

    def slabs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(cosine), SLAB_IMAGES):
            yield cosine[start : start + SLAB_IMAGES], wanted[start : start + SLAB_IMAGES]

    scale, bias, loss = calibrate(slabs)
    if not scale > 0:
        raise UserError(
            f"concepts: images are no more like texts that are true of them than like others (scale {scale:.3g}); "
            "give scale and bias, or another embedder"
        )
    logger.info("calibrated on %d labels: scale %.4g, bias %.4g, cross-entropy %.4g", len(chosen), scale, bias, loss)
    return scale, bias


def _write(
    out: Writer,
    names: list[str],
    values: np.ndarray,
    part: np.ndarray,
    chosen: np.ndarray,
    kind: str,
    scale: float,
    bias: float,
) -> None:
    out.coordinate("image", len(values))
    out.coordinate("concept", len(names))
    out.variable("concept_label", data=names)
    out.variable("value", data=values)
    out.variable("kept", data=chosen.astype(np.uint8))
    out.variable("split", data=part)
    for name, value in (("kind", kind), ("scale", scale), ("bias", bias)):
        out.attribute(name, value)
    logger.info("%d concepts, %d of them kept", len(names), int(chosen.sum()))
    if not chosen.all():
        logger.info("left out: %s", listed([name for name, keep in zip(names, chosen, strict=True) if not keep]))
