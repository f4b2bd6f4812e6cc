"""The rule ``lens_pages``: the data and pictures of a CLIP's neurons and images under the lens, for the explorer."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.data.dataset import Images, open_images
from purelens.lens.attacks import KINDS, LENS
from purelens.lens.replacements import REPLACEMENTS
from purelens.lens.segmentation import METHODS
from purelens.progress import Progress
from purelens.report.data import number, rounded, write_data
from purelens.report.pictures import save_picture, whole
from purelens.storage.artifacts import read, strings
from purelens.storage.files import replace_folder_when_whole
from purelens.storage.tables import read_table

NEURONS_OF_A_FILE = 64
IMAGES_OF_A_FILE = 64
TOP_IMAGES, OF_A_PART, WORDS_OF_A_CARD, PROMPTS_OF_AN_ATTACK = 12, 6, 3, 3


def lens_pages(
    images_h5: str,
    effects_h5: Sequence[str],
    directions_h5: Sequence[str],
    words_h5: Sequence[str],
    replacements_csv: Sequence[str],
    discovery_h5: str,
    heatmaps_h5: str,
    segmentation_csv: str,
    attack_tables: Sequence[str],
    folder: str,
    dataset: str,
    embedder: str,
    blocks: Sequence[int],
    attacks: Mapping[str, Mapping[str, str]],
    image_size: int = 160,
) -> None:
    """Write what the explorer shows of a CLIP under the lens.

    Parameters
    ----------
    images_h5, discovery_h5, heatmaps_h5
        Artifacts of the rules of these names.
    effects_h5, directions_h5, words_h5, replacements_csv
        Those of each block.
    segmentation_csv
        Scores of the segmentation.
    attack_tables
        Words of attacks, sentences with them, and scores of images where there are any; empty without attacks.
    folder
        Where it goes: ``lens.js``, ``neurons/<block>-<part>.js``, ``images/<part>.js`` and ``pictures/<image>.jpg``.
    dataset, embedder, blocks
        Names, and the numbers of the blocks.
    attacks
        Classes ``shown`` and ``taken_for`` of attacks, by name.
    image_size
        Side of the pictures, in pixels.
    """
    key = f"lens/{dataset}/{embedder}"
    with ExitStack() as stack:
        made = stack.enter_context(replace_folder_when_whole(folder))
        images = stack.enter_context(open_images(images_h5))
        found = stack.enter_context(read(discovery_h5, "discovery"))
        heatmaps = stack.enter_context(read(heatmaps_h5, "heatmaps"))
        texts = strings(found["text"])
        facts = []
        for number, *paths, replacements in zip(
            blocks, effects_h5, directions_h5, words_h5, replacements_csv, strict=True
        ):
            effects, directions, words = (
                stack.enter_context(read(path, name))
                for path, name in zip(paths, ("effects", "directions", "words"), strict=True)
            )
            block = Block(number, directions, words, texts)
            facts.append(block.facts() | {"complete": _complete(effects), "replacements": _replacements(replacements)})
            block.write(made, key)
        _write_images(made, key, images, found, heatmaps, texts, image_size)
        segmented = read_table(segmentation_csv).to_dict("records")
        values = {"dataset": dataset, "embedder": embedder, "key": key, "blocks": facts, "n_images": len(images)}
        values["images_per_file"] = IMAGES_OF_A_FILE
        values |= {"classes": strings(images.file["class_name"]), "attacks": _attacks(attacks, attack_tables)}
        values |= {"segmentation": [row | {"what": METHODS[row["method"]]} for row in segmented]}
        write_data(made / "lens.js", f"{key}/lens", values)


class Block:
    """The neurons of a block: their directions and words."""

    def __init__(self, number: int, directions: h5py.File, words: h5py.File, texts: Sequence[str]) -> None:
        self.number, self._texts = number, texts
        names = ("explained", "image_id", "length", "projection", "part", "part_explained", "silhouette", "threshold")
        self._of = {name: directions[name][...] for name in names}
        described = ("word", "weight", "likeness", "part_word", "part_weight", "part_likeness")
        self._words = {name: words[name][...] for name in described}

    def __len__(self) -> int:
        return len(self._of["explained"])

    def facts(self) -> dict[str, Any]:
        """What the wall of neurons shows: columns, a value for each neuron."""
        return {
            "block": self.number,
            "explained": rounded(self._of["explained"][:, 0], 3),
            "length": rounded(self._of["length"][:, 0], 3),
            "likeness": rounded(self._words["likeness"], 3),
            "parts": (self._of["part"].max(axis=1) + 1).tolist(),
            "words": [self._named("", row)[:WORDS_OF_A_CARD] for row in range(len(self))],
            "images": self._of["image_id"][:, :4].tolist(),
            "per_file": NEURONS_OF_A_FILE,
        }

    def write(self, folder: Path, key: str) -> None:
        """Write the neurons' own data, some of them to a file."""
        for start in range(0, len(self), NEURONS_OF_A_FILE):
            rows = range(start, min(start + NEURONS_OF_A_FILE, len(self)))
            name = f"neurons/{self.number}-{start // NEURONS_OF_A_FILE}"
            write_data(folder / f"{name}.js", f"{key}/{name}", [self._neuron(row) for row in rows])

    def _neuron(self, row: int) -> dict[str, Any]:
        of = {name: values[row] for name, values in self._of.items()}
        top = [
            [int(of["image_id"][i]), *(number(of[name][i], 3) for name in ("length", "projection"))]
            for i in range(min(TOP_IMAGES, len(of["image_id"])))
        ]
        n_parts = int(of["part"].max()) + 1
        parts = [self._part(row, place) for place in range(n_parts)] if n_parts > 1 else []
        return {
            "explained": rounded(of["explained"], 3), "threshold": number(of["threshold"], 3),
            "silhouette": number(of["silhouette"], 3), "likeness": number(self._words["likeness"][row], 3),
            "words": self._named("", row), "images": top, "parts": parts,
        }  # fmt: skip

    def _part(self, row: int, place: int) -> dict[str, Any]:
        members = np.flatnonzero(self._of["part"][row] == place)
        return {
            "n": len(members),
            "explained": number(self._of["part_explained"][row, place], 3),
            "likeness": number(self._words["part_likeness"][row, place], 3),
            "words": self._named("part_", (row, place)),
            "images": self._of["image_id"][row][members[:OF_A_PART]].tolist(),
        }

    def _named(self, prefix: str, place: Any) -> list[list[Any]]:
        """Words and weights, strongest first."""
        words, weights = self._words[f"{prefix}word"][place], self._words[f"{prefix}weight"][place]
        return [[self._texts[w], number(v, 3)] for w, v in zip(words, weights, strict=True) if w >= 0]


def _complete(effects: h5py.File) -> float | None:
    """Largest relative error of completeness on the sample."""
    error = effects["completeness"][...]
    return number(np.nanmax(error), 2) if np.isfinite(error).any() else None


def _replacements(path: str) -> list[dict[str, Any]]:
    return [row | {"what": REPLACEMENTS[row["replacement"]]} for row in read_table(path).to_dict("records")]


def _attacks(attacks: Mapping[str, Mapping[str, str]], tables: Sequence[str]) -> list[dict[str, Any]]:
    """Each attack with its words, of the lens and of random neurons, a few sentences, and how images fared."""
    if not attacks:
        return []
    words, sentences, *scored = (read_table(path).to_dict("records") for path in tables)
    images = scored[0] if scored else []
    found = []
    for name, classes in attacks.items():
        of_attack = [[row for row in rows if row["attack"] == name] for rows in (words, sentences, images)]
        of_kind = {
            kind: [[row["word"], number(np.float64(row["score"]), 3)] for row in of_attack[0] if row["kind"] == kind]
            for kind in KINDS
        }
        prompts = [row["prompt"] for row in of_attack[1] if row["kind"] == LENS][:PROMPTS_OF_AN_ATTACK]
        scores = [{key: row[key] for key in ("kind", "n_images", "share", "low", "high")} for row in of_attack[2]]
        found.append({"name": name, **classes, **of_kind, "prompts": prompts, "images": scores})
    return found


def _write_images(
    folder: Path,
    key: str,
    images: Images,
    found: h5py.File,
    heatmaps: h5py.File,
    texts: Sequence[str],
    image_size: int,
) -> None:
    """Write every image's picture, and what the neurons find in it."""
    (folder / "pictures").mkdir()
    heat, label, paths = heatmaps["heat"][...], images.file["label"][...], strings(images.file["path"])
    columns = {name: found[name][...] for name in ("word", "score", "neuron", "along", "n_active")}
    guess = heatmaps["class"][...]
    with Progress(len(images), "pages of images", "images") as progress:
        for start, pixels in images.batches(IMAGES_OF_A_FILE):
            rows = []
            for image, picture in enumerate(pixels, start):
                save_picture(whole(picture, image_size), folder / f"pictures/{image}.jpg")
                of = {name: values[image] for name, values in columns.items()}
                rows.append(
                    {
                        "path": paths[image], "label": int(label[image]), "class": int(guess[image]),
                        "active": int(of["n_active"]), "side": heat.shape[1:],
                        "heat": base64.b64encode(heat[image].tobytes()).decode(),
                        "words": [
                            [texts[w], number(s, 3)] for w, s in zip(of["word"], of["score"], strict=True) if w >= 0
                        ],
                        "neurons": [
                            [*place.tolist(), number(a, 3)]
                            for place, a in zip(of["neuron"], of["along"], strict=True) if place[0] >= 0
                        ],
                    }
                )  # fmt: skip
                progress.advance(1)
            name = f"images/{start // IMAGES_OF_A_FILE}"
            write_data(folder / f"{name}.js", f"{key}/{name}", rows)
