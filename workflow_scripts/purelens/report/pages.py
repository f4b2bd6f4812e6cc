"""The rule ``pages``: write the data and pictures of all neurons of a layer, for the explorer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from purelens.circuits.methods import JOINT, RANDOM
from purelens.progress import Progress
from purelens.report.data import rounded, write_data
from purelens.report.evidence import EvidenceFiles, evidence
from purelens.report.layer_files import LayerArtifacts, LayerFiles, LayerTables, WordFiles, open_layer
from purelens.report.layers import concept_table, layer_facts, layer_table, neuron_line
from purelens.report.neurons import CHOSEN_NUMBER, Neuron, neuron_data, neurons, shown
from purelens.report.pictures import save_picture, shrunk, strip
from purelens.report.scores import (
    GAP,
    MEANS,
    PLANTED,
    Scores,
    mean_scores,
    planted_scores,
    scores_of_clusterings,
    scores_of_decided,
)
from purelens.report.words import Words, main_words, methods_of_words, virtual_words, words_of
from purelens.storage.files import replace_folder_when_whole
from purelens.storage.paths import LAYER_PAGES
from purelens.storage.tables import read_table

N_EXAMPLES = 3


@dataclass(frozen=True)
class PageSettings:
    """What the pages of a layer show.

    Attributes
    ----------
    n_clusters
        Number of virtual neurons that is shown first.
    n_references
        References shown as patches.
    n_circuit
        Lower neurons of a circuit that are listed.
    patch_size, image_size
        Sides of patches and of whole images, in pixels.
    """

    n_clusters: int = 2
    n_references: int = 20
    n_circuit: int = 8
    patch_size: int = 88
    image_size: int = 160


@dataclass(frozen=True)
class LayerName:
    """Names of a dataset, a model and a layer."""

    dataset: str
    model: str
    layer: str

    @property
    def key(self) -> str:
        """Under which the explorer asks for the data of the layer."""
        return LAYER_PAGES.format(dataset=self.dataset, model=self.model, layer=self.layer)


DEFAULT_SETTINGS = PageSettings()
NO_EVIDENCE = EvidenceFiles()


def pages(
    artifacts: LayerArtifacts,
    card_json: str,
    tables: LayerTables,
    word_files: WordFiles,
    folder: str,
    name: LayerName,
    embedders: list[str],
    settings: PageSettings = DEFAULT_SETTINGS,
    evidence_files: EvidenceFiles = NO_EVIDENCE,
) -> None:
    """Write what the explorer shows of a layer.

    Parameters
    ----------
    artifacts, card_json
        Artifacts of the layer, and the card of the model.
    tables
        Tables of the rules that score clusterings.
    word_files
        What the rules ``explain``, ``simulate`` and ``ablate`` made.
    folder
        Where it goes: ``layer.js``, and for each neuron ``neurons/<number>.js`` and ``.jpg`` (its patches in a strip), and
        ``images/<image>.jpg``.
    name
        Names of the layer, its model and its dataset.
    embedders
        Names of the embedding models; the first one judges the neurons in the grid.
    settings
        What is shown.
    evidence_files
        Summaries of the rules ``monosemanticity``, ``selectivity`` and ``planted_scores``.
    """
    with replace_folder_when_whole(folder) as made, open_layer(artifacts) as files:
        scores = scores_of_clusterings(files, tables, embedders[0])
        table = layer_table(files, scores, read_table(tables.alignment_csv), embedders[0])
        summaries = {
            "interpretability": read_table(tables.interpretability_summary_csv),
            "alignment": read_table(tables.alignment_summary_csv),
        }
        card = json.loads(Path(card_json).read_text(encoding="utf-8"))
        facts = vars(name) | {"embedders": embedders, "k": settings.n_clusters, "key": name.key}
        facts |= {"decided": {"by": JOINT, "k": CHOSEN_NUMBER} if files.decisions else None}
        facts |= {"random_gaps": _random_gaps(files, scores[GAP], settings.n_clusters)}
        facts |= layer_facts(files, card, summaries) | _facts_in_words(word_files)
        facts |= {"scores": mean_scores(evidence_files, settings.n_clusters), "score_names": list(MEANS.items())}
        facts |= {"planted": planted_scores(evidence_files), "planted_names": list(PLANTED)}
        facts |= {"evidence": evidence(evidence_files, summaries["interpretability"], settings.n_clusters)}
        words = _words(word_files)
        decided = scores_of_decided(files, tables, embedders[0])
        if files.decisions and decided:
            table["monosemanticity_gain"] = rounded(decided["monosemanticity_gain"])
        lines = _Pages(files, Album(made, settings), name.key, words, settings).write(scores, decided)
        facts["examples"] = _examples(table, lines, str(settings.n_clusters))
        write_data(made / "layer.js", f"{name.key}/layer", {"facts": facts, "table": table, "lines": lines})


def _random_gaps(files: LayerFiles, gaps: np.ndarray, n_clusters: int) -> int | None:
    """Count the neurons whose random split has a gap above zero; None where nothing was split at random."""
    if RANDOM not in files.methods:
        return None
    return int((gaps[files.methods.index(RANDOM), files.n_clusters.index(n_clusters)] > 0).sum())


def _words(files: WordFiles) -> Words:
    return words_of(files.explanations_h5[0], files.scores_csv[0], files.scores_virtual_csv[0]) if files else {}


def _facts_in_words(files: WordFiles) -> dict[str, Any]:
    if not files:
        return {"virtual_words": [], "words": []}
    methods = methods_of_words(files.scores_summary_csv[0], files.ablation_summary_csv[0])
    return {"virtual_words": virtual_words(files.scores_virtual_csv[0]), "words": methods}


class Album:
    """Save pictures in the folder of a layer, each image once.

    Parameters
    ----------
    folder
        The folder.
    settings
        Sides of patches and images.
    """

    def __init__(self, folder: Path, settings: PageSettings) -> None:
        self.folder, self._settings = folder, settings
        self._saved: set[int] = set()
        for name in ("neurons", "images"):
            (folder / name).mkdir()

    def add(self, neuron: Neuron, chosen: np.ndarray, files: LayerFiles) -> None:
        """Save the strip of a neuron, and the images it is cut from that are not saved yet.

        Parameters
        ----------
        neuron
            The neuron.
        chosen
            Positions of the references in the strip.
        files
            The artifacts of the layer.
        """
        ids = neuron.ids[chosen]
        pixels = files.images.take(ids)
        patches = strip(pixels, neuron.box[chosen], self._settings.patch_size)
        save_picture(patches, self.folder / f"neurons/{neuron.number}.jpg")
        for image, picture in zip(ids.tolist(), pixels, strict=True):
            if image not in self._saved:
                self._saved.add(image)
                save_picture(shrunk(picture, self._settings.image_size), self.folder / f"images/{image}.jpg")


@dataclass(frozen=True)
class _Pages:
    """Write the pages of the neurons of a layer."""

    files: LayerFiles
    album: Album
    key: str
    words: Words
    settings: PageSettings

    def write(self, scores: Scores, decided: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """Write the data and pictures of every neuron; return their lines in the grid."""
        concepts = concept_table(self.files)
        lines = []
        with Progress(len(self.files.clusters["neuron"]), "pages", "neurons") as progress:
            for row, neuron in enumerate(neurons(self.files)):
                of_neuron = {name: values[:, :, row] for name, values in scores.items()}
                of_decided = {name: float(values[row]) for name, values in decided.items()}
                lines.append(self._write(neuron, of_neuron, of_decided, concepts))
                progress.advance(1)
        return lines

    def _write(
        self, neuron: Neuron, scores: Scores, decided: dict[str, float], concepts: np.ndarray | None
    ) -> dict[str, Any]:
        files, settings = self.files, self.settings
        label = neuron.decided
        if label is None:
            label = neuron.label[files.methods.index(files.main_method), files.n_clusters.index(settings.n_clusters)]
        chosen = shown(neuron, label, settings.n_references)
        explanations = self.words.get(neuron.number, [])
        data = neuron_data(neuron, files, chosen, scores, decided, settings.n_circuit) | {"words": explanations}
        line = neuron_line(neuron, data, concepts) | {"words": main_words(explanations)}
        if len(chosen):
            self.album.add(neuron, chosen, files)
            line |= {"shown": len(chosen), "virtual_neurons": _virtual_neurons(label, chosen, data["classes"])}
        write_data(self.album.folder / f"neurons/{neuron.number}.js", f"{self.key}/neurons/{neuron.number}", data)
        return line


def _virtual_neurons(label: np.ndarray, chosen: np.ndarray, classes: list[int]) -> list[dict[str, Any]]:
    """List the size, the most frequent class (-1: none) and the places in the strip of each virtual neuron."""
    rows = []
    for number in sorted(set(label.tolist()) - {-1}):
        names = [classes[i] for i in np.flatnonzero(label == number) if classes[i] >= 0]
        common = max(sorted(set(names)), key=names.count, default=-1)
        common = common if names.count(common) > 1 else -1  # one of each kind says nothing
        places = np.flatnonzero(label[chosen] == number).tolist()
        rows.append({"n": int((label == number).sum()), "class": common, "places": places})
    return rows


def _examples(table: dict[str, Any], lines: list[dict[str, Any]], k: str) -> list[int]:
    """Find the rows of the neurons with the largest gaps."""
    gap = np.array([np.nan if value is None else value for value in table["gap"][k]], dtype=float)
    rows = np.argsort(-np.nan_to_num(gap, nan=-np.inf), kind="stable")
    several = [int(row) for row in rows if np.isfinite(gap[row]) and len(lines[row].get("virtual_neurons", [])) > 1]
    return several[:N_EXAMPLES]
