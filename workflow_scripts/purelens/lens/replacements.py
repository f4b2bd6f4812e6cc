"""The rule ``replacements``: measure the zero-shot accuracy that is left when a layer's effects are replaced."""

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from purelens.data.dataset import open_images
from purelens.lens.classes import read_classes
from purelens.lens.effect_reader import centered_effects, fitted_images
from purelens.lens.methods import NOTHING_REPLACED, REPLACEMENTS
from purelens.lens.texts import unit
from purelens.networks.batching import choose_device
from purelens.numerics.bootstrap import Intervals, estimate
from purelens.progress import Progress
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.reading import Artifact, read
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

COLUMNS = ("replacement", "accuracy", "low", "high", "change", "change_low", "change_high", "n_images")


def replacements(
    images_h5: str,
    effects_h5: str,
    directions_h5: str,
    classes_h5: str,
    words_h5: str,
    replacements_csv: str,
    intervals: Intervals,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Measure the zero-shot accuracy under every replacement, on images that no direction was found on.

    Parameters
    ----------
    images_h5, effects_h5, directions_h5, classes_h5, words_h5
        Artifacts of the rules of these names.
    replacements_csv
        A row for each replacement: accuracy and its change, in percent, with intervals over images.
    intervals
        Settings of the bootstrap; its seed also splits the images.
    execution
        Device.

    Notes
    -----
    Gandelsman et al. 2024, section 4.2.
    """
    device = choose_device(execution.device)
    classes, classifier = read_classes(classes_h5)
    with (
        open_images(images_h5) as images,
        read(effects_h5, "effects") as effects,
        read(directions_h5, "directions") as directions,
        read(words_h5, "words") as words,
    ):
        label = images.file["label"][...]
        chosen = ~fitted_images(len(label), intervals.seed) & (label >= 0)
        rows = []
        if len(classes) < 2 or not chosen.any():
            logger.warning("lens: the images have no classes to tell apart, so no accuracy is measured")
        else:
            embeddings = replaced(effects, directions, words, chosen, device)
            right = {name: (z @ classifier.T).argmax(axis=1) == label[chosen] for name, z in embeddings.items()}
            rows = _rows(right, intervals)
    write_table(replacements_csv, pd.DataFrame(rows, columns=list(COLUMNS)))


def replaced(
    effects: Artifact, directions: Artifact, words: Artifact, chosen: np.ndarray, device: torch.device
) -> Mapping[str, np.ndarray]:
    """Compute the image embeddings under each replacement.

    Parameters
    ----------
    effects, directions, words
        Artifacts of the rules of these names.
    chosen
        (N,) bool, which n images.
    device
        Where to compute.

    Returns
    -------
    dict
        (n, d) embeddings, by the name of the replacement.
    """
    whole = effects["embedding"][...][chosen]
    place = np.cumsum(chosen) - 1
    direction, reconstruction = directions["direction"][...], words["reconstruction"][...]
    axes = {"direction": direction, "words": unit(reconstruction), "words_released": reconstruction}
    on_device = {name: torch.from_numpy(axis).to(device) for name, axis in axes.items()}
    embeddings = {name: whole.astype(np.float64) for name in REPLACEMENTS}
    n_neurons = len(direction)
    with Progress(int(chosen.sum()) * n_neurons, "replacements", "effects") as progress:
        for effect in centered_effects(effects, directions, chosen, device):
            rows = place[effect.images]
            total = effect.centered.sum(dim=1)
            large = (effect.centered * effect.significant[..., None]).sum(dim=1)
            for name, change in {"all": total, "large": large, "small": total - large}.items():
                embeddings[name][rows] -= change.cpu().numpy()
            for name, axis in on_device.items():
                few = axis[effect.neurons]
                projection = torch.einsum("ind,nd->in", effect.centered, few)
                embeddings[name][rows] += (projection @ few - total).cpu().numpy()
            progress.advance(effect.significant.numel())
    return embeddings


def _rows(right: Mapping[str, np.ndarray], intervals: Intervals) -> list[dict[str, object]]:
    rows = []
    for name, hits in right.items():
        accuracy = estimate(100.0 * hits, intervals)
        change = estimate(100.0 * hits - 100.0 * right[NOTHING_REPLACED], intervals)
        rows.append(
            {
                "replacement": name, "accuracy": accuracy.mean, "low": accuracy.low, "high": accuracy.high,
                "change": change.mean, "change_low": change.low, "change_high": change.high, "n_images": len(hits),
            }
        )  # fmt: skip
        logger.info("%s: %.1f %%", REPLACEMENTS[name], accuracy.mean)
    return rows
