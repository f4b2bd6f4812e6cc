"""The rule ``replacements``: what is left of zero-shot accuracy when a layer's effects are replaced."""

import logging
from collections.abc import Mapping

import h5py
import numpy as np
import pandas as pd
import torch

from purelens.data.dataset import open_images
from purelens.lens.classes import read_classes
from purelens.lens.effect_reader import centered_effects, fitted_images
from purelens.lens.texts import unit
from purelens.networks.batching import choose_device
from purelens.numerics.bootstrap import estimate
from purelens.progress import Progress
from purelens.storage.artifacts import read
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

WHOLE = "none"
REPLACEMENTS = {
    WHOLE: "nothing is replaced",
    "all": "every effect by its mean",
    "large": "significant effects by their means",
    "small": "effects that are not significant by their means",
    "direction": "every effect by its projection on the neuron's direction",
    "words": "every effect by its projection on the sum of the neuron's words",
    "words_released": "the same, with sums that are not scaled to length 1, as in the released program",
}
"""What replaces the centered effects of all neurons of a layer at once (Gandelsman et al. 2024, section 4.2)."""


def replacements(
    images_h5: str,
    effects_h5: str,
    directions_h5: str,
    classes_h5: str,
    words_h5: str,
    replacements_csv: str,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Measure zero-shot accuracy under every replacement, on images that no direction was found on.

    Parameters
    ----------
    images_h5, effects_h5, directions_h5, classes_h5, words_h5
        Artifacts of the rules of these names.
    replacements_csv
        A row for each replacement: accuracy and its change, in percent, with bootstrap intervals over images.
    bootstrap, confidence
        Of the intervals.
    device
        See `purelens.networks.batching`.
    seed
        Of the split of the images, and of the resamples.
    """
    where = choose_device(device)
    classes, classifier = read_classes(classes_h5)
    with (
        open_images(images_h5) as images,
        read(effects_h5, "effects") as effects,
        read(directions_h5, "directions") as directions,
        read(words_h5, "words") as words,
    ):
        label = images.file["label"][...]
        chosen = ~fitted_images(len(label), seed) & (label >= 0)
        rows = []
        if len(classes) < 2 or not chosen.any():
            logger.warning("lens: the images have no classes to tell apart, so no accuracy is measured")
        else:
            embeddings = replaced(effects, directions, words, chosen, where)
            right = {name: (z @ classifier.T).argmax(axis=1) == label[chosen] for name, z in embeddings.items()}
            rows = _rows(right, bootstrap, confidence, seed)
    columns = ["replacement", "accuracy", "low", "high", "change", "change_low", "change_high", "n_images"]
    write_table(replacements_csv, pd.DataFrame(rows, columns=columns))


def replaced(
    effects: h5py.File, directions: h5py.File, words: h5py.File, chosen: np.ndarray, device: torch.device
) -> Mapping[str, np.ndarray]:
    """Image embeddings (n, d) under each replacement."""
    whole = effects["embedding"][...][chosen]
    place = np.cumsum(chosen) - 1
    direction, rebuilt = directions["direction"][...], words["rebuilt"][...]
    axes = {"direction": direction, "words": unit(rebuilt), "words_released": rebuilt}
    on_device = {name: torch.from_numpy(axis).to(device) for name, axis in axes.items()}
    found = {name: whole.astype(np.float64) for name in REPLACEMENTS}
    n_neurons = len(direction)
    with Progress(int(chosen.sum()) * n_neurons, "replacements", "effects") as progress:
        for part in centered_effects(effects, directions, chosen, device):
            rows = place[part.images]
            total = part.centered.sum(dim=1)
            large = (part.centered * part.significant[..., None]).sum(dim=1)
            for name, change in {"all": total, "large": large, "small": total - large}.items():
                found[name][rows] -= change.cpu().numpy()
            for name, axis in on_device.items():
                few = axis[part.neurons]
                along = torch.einsum("ind,nd->in", part.centered, few)
                found[name][rows] += (along @ few - total).cpu().numpy()
            progress.advance(part.significant.numel())
    return found


def _rows(right: Mapping[str, np.ndarray], bootstrap: int, confidence: float, seed: int) -> list[dict[str, object]]:
    rows = []
    for name, hits in right.items():
        accuracy = estimate(100.0 * hits, bootstrap, confidence, seed)
        change = estimate(100.0 * hits - 100.0 * right[WHOLE], bootstrap, confidence, seed)
        rows.append(
            {
                "replacement": name, "accuracy": accuracy.mean, "low": accuracy.low, "high": accuracy.high,
                "change": change.mean, "change_low": change.low, "change_high": change.high, "n_images": len(hits),
            }
        )  # fmt: skip
        logger.info("%s: %.1f %%", REPLACEMENTS[name], accuracy.mean)
    return rows
