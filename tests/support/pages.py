"""Artifacts of synthetic layers, for the explorer to show."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from purelens.circuits.alignment import alignment
from purelens.circuits.interpretability import interpretability
from purelens.circuits.methods import PURE
from purelens.circuits.monosemanticity import monosemanticity
from purelens.circuits.polysemanticity import polysemanticity
from purelens.circuits.projections import projections
from purelens.circuits.summaries import SUMMARY_COLUMNS
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.lens.attack_images import attack_images
from purelens.lens.attacks import attacks
from purelens.lens.classes import classes
from purelens.lens.directions import directions
from purelens.lens.discovery import discovery
from purelens.lens.effects import effects
from purelens.lens.heatmaps import heatmaps
from purelens.lens.replacements import replacements
from purelens.lens.segmentation import segmentation
from purelens.lens.texts import texts
from purelens.lens.words import words
from purelens.numerics.bootstrap import Intervals
from purelens.report.evidence import EvidenceFiles
from purelens.report.layer_files import LayerArtifacts, LayerTables, WordFiles
from purelens.report.lens_pages import BlockFiles, ClipFiles, ClipName, lens_pages
from purelens.report.pages import LayerName, PageSettings, pages
from purelens.storage.artifacts import create
from purelens.storage.files import write_json
from purelens.storage.tables import write_table

DEAD = 3
"""A neuron that no image activates."""

EMBEDDER = "clip"
HEAT = 8
SCORES = ("monosemanticity", "monosemanticity_summary", "selectivity", "selectivity_summary")


def write_images(
    path: Path, pixels: np.ndarray, classes: list[str], paths: list[str], rejected: list[tuple[str, str]]
) -> None:
    """An artifact of images; their classes take turns."""
    n, side = pixels.shape[:2]
    with create(path, "dataset") as out:
        for dim, length in {"image": n, "row": side, "column": side, "color": 3}.items():
            out.coordinate(dim, length)
        out.coordinate("class", len(classes))
        out.coordinate("rejected", len(rejected))
        out.variable("pixels", data=pixels)
        out.variable("mask", data=(pixels[..., 0] > 127).astype("u1"))
        out.variable("label", data=np.arange(n, dtype="i4") % len(classes))
        out.variable("source_index", data=np.arange(n))
        out.variable("path", data=paths)
        out.variable("class_name", data=classes)
        out.variable("rejected_path", data=[name for name, _ in rejected])
        out.variable("rejected_reason", data=[reason for _, reason in rejected])


@dataclass(frozen=True)
class MadeUpLayer:
    """A layer whose neurons each have references of two kinds."""

    folder: Path
    images_h5: Path
    name: str
    lower: str
    n_neurons: int = 6
    n_references: int = 10
    n_lower: int = 12
    dead: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    decided: bool = False

    def write(self, n_images: int, side: int) -> None:
        """Write its artifacts and tables."""
        self.folder.mkdir(parents=True)
        rng = np.random.default_rng(0)
        ids = np.stack([rng.choice(n_images, self.n_references, replace=False) for _ in range(self.n_neurons)]).astype(
            "i4"
        )
        ids[list(self.dead)] = -1
        shape = (self.n_neurons, self.n_references)
        with create(self.path("activations"), "activations") as out:
            out.coordinate("image", n_images)
            out.references(np.arange(self.n_neurons), ids)
            out.variable("mean", data=rng.random((n_images, self.n_neurons)))
            out.variable("max", data=rng.random((n_images, self.n_neurons)))
            out.variable("reference_value", data=np.sort(rng.random(shape))[:, ::-1])
            out.variable("reference_position", data=np.zeros(shape, "i4"))
        self._relevances(ids, rng)
        with create(self.path("patches"), "patches") as out:
            out.references(np.arange(self.n_neurons), ids)
            out.coordinate("edge", 4)
            out.coordinate("heat_row", HEAT)
            out.coordinate("heat_column", HEAT)
            low = rng.integers(0, side // 2, (*shape, 2))
            box = np.concatenate([low, low + side // 2], axis=-1)
            box[ids < 0] = -1
            out.variable("box", data=box)
            out.variable("heat", data=rng.integers(0, 256, (*shape, HEAT, HEAT), dtype="u1"))
            out.variable("conserved", data=np.ones(shape))
        with create(self.path("embeddings"), "embeddings") as out:
            out.references(np.arange(self.n_neurons), ids)
            out.coordinate("component", 4)
            out.variable("embedding", data=(ids % 2)[..., None] + 0.3 * rng.random((*shape, 4)))
        with create(self.path("image_embeddings"), "image_embeddings") as out:
            out.coordinate("image", n_images)
            out.coordinate("component", 4)
            out.variable("embedding", data=rng.random((n_images, 4)))
        self._evaluate()
        write_json(self.folder / "model.json", {"architecture": "net", "top1": 0.5, "top1_images": 100})

    def path(self, name: str) -> str:
        """Where an artifact of the layer lies."""
        return f"{self.folder}/{name}.h5"

    def _evaluate(self) -> None:
        names = ("distances", "distances_mean", "correlations", "correlations_mean")
        tables = {name: f"{self.folder}/{name}.csv" for name in names}
        of = [self.path("embeddings")]
        virtual_neurons(
            self.path("relevances"), self.path("activations"), of, self.path("virtual_neurons"), [EMBEDDER], [2, 3]
        )
        decisions = self.path("polysemanticity"), f"{self.folder}/polysemanticity.csv"
        polysemanticity(self.path("relevances"), self.path("activations"), *decisions)
        interpretability(
            self.path("relevances"), self.path("virtual_neurons"), of, tables["distances"], tables["distances_mean"],
            [EMBEDDER], intervals=Intervals(bootstrap=100),
        )  # fmt: skip
        alignment(
            self.path("relevances"), self.path("activations"), of, tables["correlations"], tables["correlations_mean"],
            [EMBEDDER], intervals=Intervals(bootstrap=100), n_groups=2,
        )  # fmt: skip
        self._score(of)
        # as many neighbors as references: principal axes, for UMAP compiles itself for long
        projections(self.path("relevances"), self.path("projections"), self.lower, neighbors=self.n_references)

    def _score(self, embeddings: list[str]) -> None:
        """Scores that no clustering has seen; selectivity is made up."""
        csv = {name: f"{self.folder}/{name}.csv" for name in SCORES}
        decisions = [self.path("polysemanticity")] if self.decided else []
        monosemanticity(
            str(self.images_h5), self.path("activations"), self.path("virtual_neurons"), decisions, [], embeddings,
            [self.path("image_embeddings")], csv["monosemanticity"], f"{self.folder}/units.csv",
            csv["monosemanticity_summary"], [EMBEDDER], Intervals(bootstrap=100),
        )  # fmt: skip
        rows = [
            (n, False, m, 2, s, 0.3 * s * n)
            for n in range(3)
            for m in (PURE + self.lower, "random")
            for s in (0.1, 0.2)
        ]
        table = pd.DataFrame(rows, columns=["neuron", "polysemantic", "method", "n_clusters", "share", "selectivity"])
        write_table(csv["selectivity"], table.assign(control_selectivity=0.0))
        mean = ("random", 2, "selectivity", 0.125, 0.1, 0.0625, 0.25, 3, "all")
        write_table(csv["selectivity_summary"], pd.DataFrame([mean], columns=SUMMARY_COLUMNS))

    def _relevances(self, ids: np.ndarray, rng: np.random.Generator) -> None:
        """Circuits of two kinds."""
        with create(self.path("relevances"), "relevances") as out:
            out.references(np.arange(self.n_neurons), ids)
            out.coordinate("lower_layer", 1)
            out.variable("lower_layer_name", data=[self.lower])
            out.variable("inner", data=[0])
            out.coordinate("lower_neuron", self.n_lower)
            circuits = rng.standard_normal((2, self.n_lower))
            values = circuits[ids % 2] + 0.4 * rng.standard_normal((*ids.shape, self.n_lower))
            values[ids < 0] = 0
            out.variable(f"relevance/{self.lower}", ("neuron", "reference", "lower_neuron"), data=values / 10)

    def _words(self) -> list[list[str]]:
        """Explain the neurons by made-up concepts, if they have names."""
        if not self.words:
            return [[], [], [], [], []]
        names = ("explanations.h5", "scores.csv", "scores_mean.csv", "scores_virtual.csv", "ablation_mean.csv")
        explanations, scores, summary, virtual, ablation = (f"{self.folder}/{name}" for name in names)
        rng = np.random.default_rng(0)
        shape = (2, self.n_neurons + 2, 2)
        with create(explanations, "explanations") as out:
            for dim, size in {"method_number": 2, "unit": shape[1], "slot": 2, "concept": len(self.words)}.items():
                out.coordinate(dim, size)
            methods = ["le:mine", "clip_dissect:mine"]
            out.variable("method", data=methods)
            out.variable("concept_label", data=self.words)
            neuron, virtual_neuron = [*range(self.n_neurons), 0, 0], [*[-1] * self.n_neurons, 0, 1]
            out.variable("unit_neuron", data=neuron)
            out.variable("unit_virtual_neuron", data=virtual_neuron)
            numbers = rng.integers(0, len(self.words), shape)
            numbers[1, :, 1] = -1
            out.variable("concept_number", data=numbers)
            out.variable("weight", data=rng.random(shape))
        rows = [
            (m, n, p, rng.random(), rng.random()) for m in methods for n, p in zip(neuron, virtual_neuron, strict=True)
        ]
        write_table(scores, pd.DataFrame(rows, columns=["method", "neuron", "virtual_neuron", "correlation", "auprc"]))
        columns = ["method", "quantity", "mean", "low", "high", "n"]
        means = [(m, q, 0.5, 0.4, 0.6, 6) for m in methods for q in ("correlation", "auprc", "n_concepts")]
        write_table(summary, pd.DataFrame(means, columns=columns))
        write_table(ablation, pd.DataFrame([(methods[0], "ablation", 0.2, np.nan, np.nan, 1)], columns=columns))
        parent = [
            "method",
            "neuron",
            "parent_correlation",
            "children_correlation",
            "sum_correlation",
            "parent_concepts",
        ]
        write_table(
            virtual, pd.DataFrame([(methods[0], 0, 0.5, 0.7, 0.6, 2, 1)], columns=[*parent, "children_concepts"])
        )
        return [[explanations], [scores], [summary], [virtual], [ablation]]

    def pages(self, report: Path, dataset: str, model: str, **settings: int) -> str:
        """Write its pages; returns their folder."""
        folder = f"{report}/layers/{dataset}/{model}/{self.name}"
        names = ("activations", "relevances", "patches", "virtual_neurons", "projections")
        tables = ("distances", "distances_mean", "correlations", "correlations_mean")
        artifacts = LayerArtifacts(
            images_h5=str(self.images_h5),
            embeddings=[self.path("embeddings")],
            polysemanticity_h5=[self.path("polysemanticity")] if self.decided else [],
            **{f"{name}_h5": self.path(name) for name in names},
        )
        likeness, likeness_mean, causal, causal_mean = ([f"{self.folder}/{name}.csv"] for name in SCORES)
        distances, distances_mean, correlations, correlations_mean = (f"{self.folder}/{name}.csv" for name in tables)
        csv = LayerTables(distances, distances_mean, correlations, correlations_mean, likeness, causal)
        name, words = LayerName(dataset, model, self.name), WordFiles(*self._words())
        card = f"{self.folder}/model.json"
        shown = PageSettings(**settings)
        pages(artifacts, card, csv, words, folder, name, [EMBEDDER], shown, EvidenceFiles(likeness_mean, causal_mean))
        return folder


SMALL_CLIP: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8, "mlp_ratio": 5},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def draw_cats(folder: Path) -> None:
    """Draw three images of a class."""
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (20, 20), (90 * number, 80, 20)).save(folder / f"{number}.png")


def write_lens(folder: Path, images_h5: Path, pool: list[str], root: Path, dataset: str) -> str:
    """A random CLIP under the lens: its artifacts, and the folder of its pages."""
    folder.mkdir()
    (folder / "report_clip.json").write_text(json.dumps(SMALL_CLIP))
    (folder / "pool.json").write_text(json.dumps(pool))
    clip = {
        "source": "open_clip",
        "architecture": f"{folder}/report_clip.json",
        "weights": "random",
        "output": "pooled",
    }
    images = str(images_h5)
    every = {name: [f"{folder}/{name}{block}" for block in (0, 1)] for name in ("e", "d", "w", "r")}
    texts(f"{folder}/t.h5", clip, f"{folder}/pool.json")
    classes(images, f"{folder}/c.h5", clip)
    for block, (e, d, w, r) in enumerate(zip(*every.values(), strict=True)):
        effects(images, e, clip, block)
        directions(e, d, top_images=20, min_explained_variance=0.85)
        words(d, f"{folder}/t.h5", w, n_words=4)
        replacements(images, e, d, f"{folder}/c.h5", w, r, intervals=Intervals(bootstrap=20))
    e, d, w, r = every.values()
    discovery(e, d, w, f"{folder}/discovery.h5", [0, 1])
    heatmaps(images, d, f"{folder}/c.h5", f"{folder}/heatmaps.h5", clip, [0, 1], 10)
    scores = (f"{folder}/s.csv", f"{folder}/ss.csv")
    segmentation(images, d, f"{folder}/c.h5", *scores, clip, [0, 1], 10, intervals=Intervals(bootstrap=20))
    draw_cats(folder / "cats/cat")
    settings: dict[str, Any] = {
        "one": {"source_class": "cat", "target_class": "dog", "avoid": [], "images": f"{folder}/cats"},
        "mute": {"source_class": "cat", "target_class": "zebra", "avoid": pool, "images": None},
    }
    tables = (f"{folder}/attacks.csv", f"{folder}/prompts.csv", f"{folder}/images.csv")
    attacks(d, w, *tables[:2], clip, settings)
    attack_images(*tables[1:], clip, settings, intervals=Intervals(bootstrap=20))
    made = f"{root}/lens/{dataset}/small_clip"
    block_files = BlockFiles([0, 1], e, d, w, r)
    clip_files = ClipFiles(f"{folder}/discovery.h5", f"{folder}/heatmaps.h5", scores[1], tables)
    lens_pages(images, block_files, clip_files, made, ClipName(dataset, "small_clip"), settings, 32)
    return made
