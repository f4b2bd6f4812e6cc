"""The rule ``lens_pages``: write the data and pictures of a CLIP's neurons and images, for the explorer."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from purelens.data.dataset import Images, open_images
from purelens.lens.methods import ATTACK_KINDS, LENS, REPLACEMENTS, SEGMENTATIONS
from purelens.progress import Progress
from purelens.report.data import number, rounded, write_data
from purelens.report.pictures import save_picture, shrunk
from purelens.storage.files import replace_folder_when_whole
from purelens.storage.paths import LENS_PAGES
from purelens.storage.reading import Artifact, read, strings
from purelens.storage.tables import read_table

NEURONS_PER_FILE = 64
IMAGES_PER_FILE = 64
N_TOP_IMAGES, N_CLUSTER_IMAGES, N_CARD_WORDS, N_PROMPTS = 12, 6, 3, 3


@dataclass(frozen=True)
class BlockFiles:
    """Paths of what the rules of these names made of each block.

    Attributes
    ----------
    blocks
        Numbers of the blocks.
    """

    blocks: Sequence[int]
    effects_h5: Sequence[str]
    directions_h5: Sequence[str]
    words_h5: Sequence[str]
    replacements_csv: Sequence[str]


@dataclass(frozen=True)
class ClipFiles:
    """Paths of what was made of all blocks together.

    Attributes
    ----------
    discovery_h5, heatmaps_h5
        Artifacts of the rules of these names.
    segmentation_csv
        Summary of the segmentation.
    attack_tables
        Words of attacks, prompts with them, and scores of images where there are any; empty without attacks.
    """

    discovery_h5: str
    heatmaps_h5: str
    segmentation_csv: str
    attack_tables: Sequence[str]


@dataclass(frozen=True)
class ClipName:
    """Names of a dataset and of an embedding model."""

    dataset: str
    embedder: str

    @property
    def key(self) -> str:
        """Under which the explorer asks for the data."""
        return LENS_PAGES.format(dataset=self.dataset, embedder=self.embedder)


def lens_pages(
    images_h5: str,
    block_files: BlockFiles,
    clip_files: ClipFiles,
    folder: str,
    name: ClipName,
    attacks: Mapping[str, Mapping[str, str]],
    image_size: int = 160,
) -> None:
    """Write what the explorer shows of a CLIP.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    block_files, clip_files
        What was made of each block, and of all together.
    folder
        Where it goes: ``lens.js``, ``neurons/<block>-<number>.js``, ``images/<number>.js`` and ``pictures/<image>.jpg``.
    name
        Names of the CLIP and the dataset.
    attacks
        ``source_class`` and ``target_class`` of attacks, by name.
    image_size
        Side of the pictures, in pixels.
    """
    with ExitStack() as stack:
        made = stack.enter_context(replace_folder_when_whole(folder))
        images = stack.enter_context(open_images(images_h5))
        discovery = stack.enter_context(read(clip_files.discovery_h5, "discovery"))
        heatmaps = stack.enter_context(read(clip_files.heatmaps_h5, "heatmaps"))
        texts = strings(discovery["text"])
        facts = _write_blocks(block_files, texts, made, name.key)
        _Gallery(images, discovery, heatmaps, texts, image_size).write(made, name.key)
        values = vars(name) | {"key": name.key, "blocks": facts, "n_images": len(images)}
        values |= {"images_per_file": IMAGES_PER_FILE, "classes": strings(images.file["class_name"])}
        values |= {"attacks": _attacks(attacks, clip_files.attack_tables)}
        values |= {"segmentation": _segmentation(clip_files.segmentation_csv)}
        write_data(made / "lens.js", f"{name.key}/lens", values)


def _write_blocks(files: BlockFiles, texts: Sequence[str], folder: Path, key: str) -> list[dict[str, Any]]:
    """Write the neurons of all blocks; return what the grid shows of each block."""
    facts = []
    paths = zip(
        files.blocks, files.effects_h5, files.directions_h5, files.words_h5, files.replacements_csv, strict=True
    )
    for block, effects_h5, directions_h5, words_h5, replacements_csv in paths:
        with (
            read(effects_h5, "effects") as effects,
            read(directions_h5, "directions") as directions,
            read(words_h5, "words") as words,
        ):
            neurons = BlockNeurons(block, directions, words, texts)
            neurons.write(folder, key)
            summary = {"completeness": _completeness(effects), "replacements": _replacements(replacements_csv)}
            facts.append(neurons.facts() | summary)
    return facts


class BlockNeurons:
    """The neurons of a block, with their directions and words.

    Parameters
    ----------
    block
        Number of the block.
    directions, words
        Artifacts of these names.
    texts
        The pool of texts.
    """

    def __init__(self, block: int, directions: Artifact, words: Artifact, texts: Sequence[str]) -> None:
        self.block, self._texts = block, texts
        names = (
            "explained",
            "image_id",
            "length",
            "projection",
            "silhouette",
            "threshold",
            "cluster",
            "cluster_explained",
        )
        self._directions = {name: directions[name][...] for name in names}
        described = (
            "word",
            "weight",
            "cosine_similarity",
            "cluster_word",
            "cluster_weight",
            "cluster_cosine_similarity",
        )
        self._words = {name: words[name][...] for name in described}

    def __len__(self) -> int:
        return len(self._directions["explained"])

    def facts(self) -> dict[str, Any]:
        """Collect what the grid of neurons shows: columns, a value for each neuron."""
        directions = self._directions
        return {
            "block": self.block,
            "explained": rounded(directions["explained"][:, 0], 3),
            "length": rounded(directions["length"][:, 0], 3),
            "cosine_similarity": rounded(self._words["cosine_similarity"], 3),
            "directions": (directions["cluster"].max(axis=1) + 1).tolist(),
            "words": [self._weighted_words("", row)[:N_CARD_WORDS] for row in range(len(self))],
            "images": directions["image_id"][:, :4].tolist(),
            "per_file": NEURONS_PER_FILE,
        }

    def write(self, folder: Path, key: str) -> None:
        """Write the data of the neurons, some of them to a file."""
        for start in range(0, len(self), NEURONS_PER_FILE):
            rows = range(start, min(start + NEURONS_PER_FILE, len(self)))
            name = f"neurons/{self.block}-{start // NEURONS_PER_FILE}"
            write_data(folder / f"{name}.js", f"{key}/{name}", [self._neuron(row) for row in rows])

    def _neuron(self, row: int) -> dict[str, Any]:
        values = {name: array[row] for name, array in self._directions.items()}
        images = [
            [int(values["image_id"][i]), *(number(values[name][i], 3) for name in ("length", "projection"))]
            for i in range(min(N_TOP_IMAGES, len(values["image_id"])))
        ]
        n_directions = int(values["cluster"].max()) + 1
        clusters = [self._cluster(row, place) for place in range(n_directions)] if n_directions > 1 else []
        return {
            "explained": rounded(values["explained"], 3), "threshold": number(values["threshold"], 3),
            "silhouette": number(values["silhouette"], 3),
            "cosine_similarity": number(self._words["cosine_similarity"][row], 3),
            "words": self._weighted_words("", row), "images": images, "clusters": clusters,
        }  # fmt: skip

    def _cluster(self, row: int, place: int) -> dict[str, Any]:
        members = np.flatnonzero(self._directions["cluster"][row] == place)
        return {
            "n": len(members),
            "explained": number(self._directions["cluster_explained"][row, place], 3),
            "cosine_similarity": number(self._words["cluster_cosine_similarity"][row, place], 3),
            "words": self._weighted_words("cluster_", (row, place)),
            "images": self._directions["image_id"][row][members[:N_CLUSTER_IMAGES]].tolist(),
        }

    def _weighted_words(self, prefix: str, place: Any) -> list[list[Any]]:
        """List words and weights, strongest first."""
        words, weights = self._words[f"{prefix}word"][place], self._words[f"{prefix}weight"][place]
        return [[self._texts[w], number(v, 3)] for w, v in zip(words, weights, strict=True) if w >= 0]


def _completeness(effects: Artifact) -> float | None:
    """Return the largest relative error of completeness on the sample; None without one."""
    error = effects["completeness"][...]
    return number(np.nanmax(error), 2) if np.isfinite(error).any() else None


def _replacements(path: str) -> list[dict[str, Any]]:
    return [row | {"what": REPLACEMENTS[row["replacement"]]} for row in read_table(path).to_dict("records")]


def _segmentation(path: str) -> list[dict[str, Any]]:
    return [row | {"what": SEGMENTATIONS[row["method"]]} for row in read_table(path).to_dict("records")]


def _attacks(attacks: Mapping[str, Mapping[str, str]], tables: Sequence[str]) -> list[dict[str, Any]]:
    """Collect the words of each attack, of the lens and of random neurons, a few prompts, and the scores of images."""
    if not attacks:
        return []
    words, prompts, *scores = (read_table(path).to_dict("records") for path in tables)
    images = scores[0] if scores else []
    rows = []
    for name, classes in attacks.items():
        words_of_attack, prompts_of_attack, images_of_attack = (
            [row for row in table if row["attack"] == name] for table in (words, prompts, images)
        )
        by_kind = {
            kind: [[row["word"], number(np.float64(row["score"]), 3)] for row in words_of_attack if row["kind"] == kind]
            for kind in ATTACK_KINDS
        }
        texts = [row["prompt"] for row in prompts_of_attack if row["kind"] == LENS][:N_PROMPTS]
        scored = [{key: row[key] for key in ("kind", "n_images", "share", "low", "high")} for row in images_of_attack]
        rows.append({"name": name, **classes, **by_kind, "prompts": texts, "images": scored})
    return rows


@dataclass(frozen=True)
class _Gallery:
    """Write the picture of every image, and what the neurons say about it."""

    images: Images
    discovery: Artifact
    heatmaps: Artifact
    texts: Sequence[str]
    size: int

    def write(self, folder: Path, key: str) -> None:
        """Write the data of the images, some of them to a file."""
        (folder / "pictures").mkdir()
        rows = self._rows()
        with Progress(len(self.images), "pages of images", "images") as progress:
            for start, pixels in self.images.batches(IMAGES_PER_FILE):
                for image, picture in enumerate(pixels, start):
                    save_picture(shrunk(picture, self.size), folder / f"pictures/{image}.jpg")
                    progress.advance(1)
                name = f"images/{start // IMAGES_PER_FILE}"
                write_data(folder / f"{name}.js", f"{key}/{name}", rows[start : start + len(pixels)])

    def _rows(self) -> list[dict[str, Any]]:
        label, paths = self.images.file["label"][...], strings(self.images.file["path"])
        heat, predicted = self.heatmaps["heat"][...], self.heatmaps["class"][...]
        n_active = self.discovery["n_active"][...]
        words, neurons = self._words(), self._neurons()
        return [
            {
                "path": paths[image], "label": int(label[image]), "class": int(predicted[image]),
                "n_active": int(n_active[image]), "side": heat.shape[1:],
                "heat": base64.b64encode(heat[image].tobytes()).decode(),
                "words": words[image], "neurons": neurons[image],
            }
            for image in range(len(self.images))
        ]  # fmt: skip

    def _words(self) -> list[list[list[Any]]]:
        """List words and scores of each image."""
        table = zip(self.discovery["word"][...], self.discovery["score"][...], strict=True)
        return [
            [[self.texts[w], number(s, 3)] for w, s in zip(words, scores, strict=True) if w >= 0]
            for words, scores in table
        ]

    def _neurons(self) -> list[list[list[Any]]]:
        """List block, number and projection of the neurons that move each image most."""
        table = zip(self.discovery["neuron"][...], self.discovery["projection"][...], strict=True)
        return [
            [[*place.tolist(), number(p, 3)] for place, p in zip(places, projections, strict=True) if place[0] >= 0]
            for places, projections in table
        ]
