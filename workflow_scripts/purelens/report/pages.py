"""The rule ``pages``: the data and pictures of all neurons of a layer, for the explorer."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from purelens.circuits.virtual_neurons import RANDOM
from purelens.data.dataset import open_images
from purelens.progress import Progress
from purelens.report.data import write_data
from purelens.report.layers import all_gaps, concept_table, layer_facts, layer_table, neuron_line
from purelens.report.neurons import LayerFiles, Neuron, neuron_data, neurons, shown
from purelens.report.pictures import save_picture, strip, whole
from purelens.report.words import Words, main_words, methods_of_words, virtual_words, words_of
from purelens.storage.artifacts import read
from purelens.storage.files import replace_folder_when_whole
from purelens.storage.tables import read_table


def pages(
    images_h5: str,
    card_json: str,
    activations_h5: str,
    relevances_h5: str,
    patches_h5: str,
    virtual_neurons_h5: str,
    projections_h5: str,
    embeddings: list[str],
    interpretability_csv: str,
    interpretability_summary_csv: str,
    alignment_csv: str,
    alignment_summary_csv: str,
    explanations_h5: list[str],
    scores_csv: list[str],
    scores_summary_csv: list[str],
    scores_virtual_csv: list[str],
    ablation_summary_csv: list[str],
    folder: str,
    dataset: str,
    model: str,
    layer: str,
    embedders: list[str],
    n_clusters: int = 2,
    n_references: int = 20,
    n_circuit: int = 8,
    patch_size: int = 88,
    image_size: int = 160,
) -> None:
    """Write what the explorer shows of a layer.

    Parameters
    ----------
    images_h5 ... alignment_summary_csv
        What the rules of these names made.
    explanations_h5 ... ablation_summary_csv
        What the rules ``explain``, ``simulate`` and ``ablate`` made; empty where neurons are not explained.
    folder
        Where it goes: ``layer.js``, and for each neuron ``neurons/<number>.js`` and ``.jpg`` (its patches in a strip), and
        ``images/<image>.jpg``.
    dataset, model, layer
        Names.
    embedders
        The embedders; the first one judges the neurons in the grid.
    n_clusters
        The number of virtual neurons that is shown first.
    n_references
        References shown as patches.
    n_circuit
        Lower neurons of a circuit that are listed.
    patch_size, image_size
        Sides of patches and of whole images, in pixels.
    """
    key = f"layers/{dataset}/{model}/{layer}"
    with ExitStack() as stack:
        made = stack.enter_context(replace_folder_when_whole(folder))
        images = stack.enter_context(open_images(images_h5))
        named = {
            "activations": activations_h5,
            "relevances": relevances_h5,
            "patches": patches_h5,
            "virtual_neurons": virtual_neurons_h5,
            "projections": projections_h5,
        }
        files = LayerFiles(images, *(stack.enter_context(read(path, name)) for name, path in named.items()))
        gaps = all_gaps(files, read_table(interpretability_csv), embedders[0])
        table = layer_table(files, gaps, read_table(alignment_csv), embedders[0])
        summaries = {
            "interpretability": read_table(interpretability_summary_csv),
            "alignment": read_table(alignment_summary_csv),
        }
        card = json.loads(Path(card_json).read_text(encoding="utf-8"))
        names = {"dataset": dataset, "model": model, "layer": layer, "embedders": embedders, "k": n_clusters}
        judges = [stack.enter_context(read(path, "embeddings")) for path in embeddings]
        random = (
            gaps[files.methods.index(RANDOM), files.n_clusters.index(n_clusters)] if RANDOM in files.methods else None
        )
        facts = names | {"key": key, "random_apart": None if random is None else int((random > 0).sum())}
        facts |= layer_facts(files, card, summaries, judges)
        words: Words = words_of(explanations_h5[0], scores_csv[0], scores_virtual_csv[0]) if explanations_h5 else {}
        facts["virtual_words"] = virtual_words(scores_virtual_csv[0]) if explanations_h5 else []
        facts["words"] = methods_of_words(scores_summary_csv[0], ablation_summary_csv[0]) if explanations_h5 else []
        album = Album(made, patch_size, image_size)
        lines = _neurons(files, album, key, gaps, words, n_clusters, n_references, n_circuit)
        facts["examples"] = _examples(table, lines, str(n_clusters))
        write_data(made / "layer.js", f"{key}/layer", {"facts": facts, "table": table, "lines": lines})


class Album:
    """Where pictures go; each image once.

    Parameters
    ----------
    folder
        The folder of a layer.
    patch_size, image_size
        Sides in pixels.
    """

    def __init__(self, folder: Path, patch_size: int, image_size: int) -> None:
        self.folder, self._patch_size, self._image_size = folder, patch_size, image_size
        self._seen: set[int] = set()
        for name in ("neurons", "images"):
            (folder / name).mkdir()

    def add(self, neuron: Neuron, chosen: np.ndarray, files: LayerFiles) -> None:
        """Save the strip of a neuron, and the images it is cut from that are not there yet."""
        ids = neuron.ids[chosen]
        pixels = files.images.take(ids)
        save_picture(strip(pixels, neuron.box[chosen], self._patch_size), self.folder / f"neurons/{neuron.number}.jpg")
        for image, picture in zip(ids.tolist(), pixels, strict=True):
            if image not in self._seen:
                self._seen.add(image)
                save_picture(whole(picture, self._image_size), self.folder / f"images/{image}.jpg")


def _neurons(
    files: LayerFiles,
    album: Album,
    key: str,
    gaps: np.ndarray,
    words: Words,
    n_clusters: int,
    n_references: int,
    n_circuit: int,
) -> list[dict[str, Any]]:
    """Write the data and pictures of every neuron; returns their lines in the grid."""
    method, place = files.methods.index(files.main_method), files.n_clusters.index(n_clusters)
    concepts = concept_table(files)
    lines = []
    with Progress(len(files.clusters["neuron"]), "pages", "neurons") as progress:
        for row, neuron in enumerate(neurons(files)):
            label = neuron.label[method, place]
            chosen = shown(neuron, label, n_references)
            said = words.get(neuron.number, [])
            data = neuron_data(neuron, files, chosen, gaps[:, :, row], n_circuit) | {"words": said}
            line = neuron_line(neuron, data, concepts) | {"words": main_words(said)}
            if len(chosen):
                album.add(neuron, chosen, files)
                line |= {"shown": len(chosen), "parts": _parts(label, chosen, data["classes"])}
            write_data(album.folder / f"neurons/{neuron.number}.js", f"{key}/neurons/{neuron.number}", data)
            lines.append(line)
            progress.advance(1)
    return lines


def _parts(label: np.ndarray, chosen: np.ndarray, classes: list[int]) -> list[dict[str, Any]]:
    """Size, most frequent class (-1: none) and places in the strip of each virtual neuron."""
    found = []
    for number in sorted(set(label.tolist()) - {-1}):
        names = [classes[i] for i in np.flatnonzero(label == number) if classes[i] >= 0]
        common = max(sorted(set(names)), key=names.count, default=-1)
        common = common if names.count(common) > 1 else -1  # one of each kind says nothing
        places = np.flatnonzero(label[chosen] == number).tolist()
        found.append({"n": int((label == number).sum()), "class": common, "places": places})
    return found


def _examples(table: dict[str, Any], lines: list[dict[str, Any]], k: str, n: int = 3) -> list[int]:
    """Rows of the neurons that separate best."""
    gap = np.array([np.nan if value is None else value for value in table["separation"][k]], dtype=float)
    rows = np.argsort(-np.nan_to_num(gap, nan=-np.inf), kind="stable")
    return [int(row) for row in rows if np.isfinite(gap[row]) and len(lines[row].get("parts", [])) > 1][:n]
