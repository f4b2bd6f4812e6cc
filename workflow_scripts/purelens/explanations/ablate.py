"""The rule ``ablate``: what happens to the network's answer when a neuron is replaced by what its explanation predicts."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from purelens.data.dataset import Images, open_images
from purelens.data.splits import TEST, VALIDATION
from purelens.explanations.methods import SHUFFLED
from purelens.explanations.simulate import Explanations, givers, open_explanations, simulations
from purelens.explanations.table import open_concepts
from purelens.explanations.units import WHOLE
from purelens.networks.batching import choose_device, first_batch_size
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import as_maps, find_layer
from purelens.numerics.bootstrap import estimate
from purelens.progress import Progress
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

SAME = 1e-3
"""Largest relative difference of a head's input from the pooled layer for the head to follow the layer."""


def ablate(
    images_h5: str,
    weights: str,
    card: str,
    activations_h5: str,
    explanations_h5: str,
    concepts_h5: str,
    gates_h5: Sequence[str],
    ablation_csv: str,
    summary_csv: str,
    layer: str,
    n_neurons: int,
    channels: str = "auto",
    device: str = "auto",
    batch_size: int | None = None,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """Score explanations by how little the loss changes when they stand in for their neurons.

    Parameters
    ----------
    images_h5, weights, card, activations_h5, explanations_h5, concepts_h5, gates_h5
        As in `purelens.explanations.simulate.simulate`, and the network.
    ablation_csv
        One row per method and neuron; none if the images have no labels that the network knows.
    summary_csv
        Means over neurons with bootstrap intervals.
    layer, channels
        The layer, and where its neurons are.
    n_neurons
        How many neurons are replaced if no linear head follows the layer: each costs passes of the whole network.
    device, batch_size
        See `purelens.networks.batching`.
    bootstrap, confidence, seed
        See `purelens.numerics.bootstrap.estimate`.

    Notes
    -----
    Oikarinen & Weng 2024, section 4.2: one minus the sum over test images of the absolute change of the cross-entropy, divided
    by that when the neuron is replaced by its mean. The simulation is brought to the neuron's scale by least squares on the
    validation images. Where no linear head follows the layer, the neuron's map is shifted so that its mean is the simulated
    one, and the network runs once more: a perfect simulation changes nothing.
    """
    where = choose_device(device)
    network = load_network(weights, card)
    network.module.to(where)
    with (
        open_images(images_h5) as images,
        open_concepts(concepts_h5) as simulator,
        open_explanations(
            explanations_h5, activations_h5, gates_h5[0] if gates_h5 else None, simulator
        ) as explanations,
    ):
        batch = batch_size or first_batch_size(where, images.size)
        ablation = Ablation(network, images, layer, channels, where, batch)
        label = images.file["label"][...]
        parts = {part: np.flatnonzero((simulator.part == part) & (label >= 0)) for part in (VALIDATION, TEST)}
        n_classes = ablation.n_classes
        rows: list[dict[str, Any]] = []
        if min(map(len, parts.values())) < 2 or n_classes is None or label.max() >= n_classes:
            logger.warning("no ablation: the images have no labels, or others than the network's %s outputs", n_classes)
        else:
            rows = _all_methods(ablation, explanations, label, parts, simulator.probabilities, n_neurons, seed)
    table = pd.DataFrame(rows, columns=["method", "neuron", "head", "temperature", "score"])
    write_table(ablation_csv, table)
    summary = [
        {
            "method": name,
            "quantity": "ablation",
            **vars(estimate(group["score"].to_numpy(float), bootstrap, confidence, seed)),
        }
        for name, group in table.groupby("method", sort=False)
    ]
    write_table(
        summary_csv, pd.DataFrame(summary, columns=["method", "quantity", "mean", "standard_error", "low", "high", "n"])
    )


class Ablation:
    """Replace single neurons of a layer on some images."""

    def __init__(
        self, network: Network, images: Images, layer: str, channels: str, device: torch.device, batch_size: int
    ) -> None:
        self._network, self._images, self._layer, self._channels = network, images, layer, channels
        self._device, self._batch_size = device, batch_size
        self.head_weight = find_head(network, layer, channels, self._pixels(np.arange(min(4, len(images)))))
        outputs = self.logits(np.arange(1))
        self.n_classes = outputs.shape[1] if outputs.ndim == 2 else None

    def _pixels(self, images: np.ndarray) -> torch.Tensor:
        return self._network.normalize(torch.from_numpy(self._images.take(images)).to(self._device))

    def logits(self, images: np.ndarray, neuron: int = 0, change: np.ndarray | None = None) -> np.ndarray:
        """Logits (n, classes) of a pass of the network; given a change (n,), it is added to a neuron's maps."""
        found = []
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]

            def replace(_: object, __: object, output: torch.Tensor, start: int = start) -> torch.Tensor | None:
                if change is None:
                    return None
                changed = output.clone()
                shift = torch.from_numpy(change[start : start + self._batch_size]).to(output)
                as_maps(changed, self._layer, self._channels)[:, neuron] += shift[:, None]
                return changed

            handle = find_layer(self._network.module, self._layer).register_forward_hook(replace)
            try:
                with torch.inference_mode():
                    found.append(self._network.module(self._pixels(batch)).float().cpu().numpy())
            finally:
                handle.remove()
        return np.concatenate(found)

    def replaced(
        self, images: np.ndarray, logits: np.ndarray, neuron: int, true: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Logits with a neuron's activations (n,) replaced by values (n,)."""
        if self.head_weight is not None:
            return logits + np.outer(values - true, self.head_weight[:, neuron])
        return self.logits(images, neuron, values - true)


def find_head(network: Network, layer: str, channels: str, images: torch.Tensor) -> np.ndarray | None:
    """Weights (classes, C) of the last linear layer, if it takes the spatial means of a layer and gives the answer."""
    linear = [part for part in network.module.modules() if isinstance(part, torch.nn.Linear)]
    seen: dict[str, torch.Tensor] = {}
    if not linear:
        return None
    handles = [
        find_layer(network.module, layer).register_forward_hook(
            lambda _, __, output: seen.update(layer=output.clone())
        ),
        linear[-1].register_forward_hook(lambda _, inputs, output: seen.update(input=inputs[0], output=output)),
    ]
    with torch.inference_mode():
        answer = network.module(images)
    for handle in handles:
        handle.remove()
    pooled = as_maps(seen["layer"], layer, channels).mean(dim=-1)
    follows = (
        seen.get("input", answer[:, :0]).shape == pooled.shape
        and float((seen["input"] - pooled).abs().max() / pooled.abs().max().clamp(min=1e-12)) < SAME
        and torch.equal(seen["output"], answer)
    )
    return linear[-1].weight.detach().double().cpu().numpy() if follows else None


def losses(logits: np.ndarray, label: np.ndarray, temperature: float) -> np.ndarray:
    """Cross-entropy (n,) of each image."""
    scaled = logits.astype(np.float64) / temperature
    return logsumexp(scaled, axis=1) - scaled[np.arange(len(label)), label]


def best_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """The temperature that makes the network's probabilities fit best."""
    found = minimize_scalar(
        lambda log: losses(logits, label, float(np.exp(log))).mean(), bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(found.x))


def scaled_like(true: np.ndarray, simulated: np.ndarray) -> tuple[float, float]:
    """Slope and constant that bring a simulation nearest to a neuron, in the least squares."""
    centered = simulated - simulated.mean()
    spread = float(centered @ centered)
    slope = float(centered @ (true - true.mean())) / spread if spread > 1e-18 else 0.0
    return slope, float(true.mean() - slope * simulated.mean())


def not_by_chance(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The logits (n, classes); says if they hardly know the labels (n,), as when the classes are in another order."""
    right, chance = float((logits.argmax(axis=1) == label).mean()), 1 / logits.shape[1]
    if right <= 2 * chance:
        logger.warning(
            "the network is right on %.1f %% of the test images, by chance it were %.1f %%: are the classes of the images in "
            "the order of its outputs? if not, the scores of ablation mean nothing", 100 * right, 100 * chance,
        )  # fmt: skip
    return logits


def _all_methods(
    ablation: Ablation,
    explanations: Explanations,
    label: np.ndarray,
    parts: dict[int, np.ndarray],
    probabilities: Callable[[np.ndarray], np.ndarray],
    n_neurons: int,
    seed: int,
) -> list[dict[str, Any]]:
    units = explanations.units
    validation, test = parts[VALIDATION], parts[TEST]
    whole = np.flatnonzero(units.part == WHOLE)
    everything = slice(0, len(units))
    pooled = {part: units.activations(everything, images) for part, images in parts.items()}
    temperature = best_temperature(ablation.logits(validation), label[validation])
    logits = not_by_chance(ablation.logits(test), label[test])
    before = losses(logits, label[test], temperature)
    simulated = {
        part: [simulations(explanations, method, probabilities(images)) for method in range(len(explanations.methods))]
        for part, images in parts.items()
    }
    has_head = ablation.head_weight is not None
    chosen = whole if has_head else whole[:: max(1, len(whole) // max(n_neurons, 1))][:n_neurons]

    def change(unit: int, values: np.ndarray) -> float:
        replaced = ablation.replaced(test, logits, int(units.neuron[unit]), pooled[TEST][:, unit], values)
        return float(np.abs(losses(replaced, label[test], temperature) - before).sum())

    rows = []
    with Progress(len(chosen), "ablation", "neurons") as progress:
        for unit in chosen.tolist():
            worst = change(unit, np.full(len(test), pooled[VALIDATION][:, unit].mean()))
            for name, (guess, held_out) in _guesses(explanations, simulated, unit, seed).items():
                if np.isnan(guess).any() or worst <= 0:
                    continue
                slope, constant = scaled_like(pooled[VALIDATION][:, unit], guess)
                score = 1 - change(unit, slope * held_out + constant) / worst
                kind = "linear" if has_head else "network"
                rows.append(
                    {
                        "method": name,
                        "neuron": int(units.neuron[unit]),
                        "head": kind,
                        "temperature": temperature,
                        "score": score,
                    }
                )
            progress.advance(1)
    return rows


def _guesses(
    explanations: Explanations, simulated: dict[int, list[np.ndarray]], unit: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What each method, and its shuffled control, predicts of a neuron on validation and on test images."""
    found = {}
    for method, name in enumerate(explanations.methods):
        validation, test = (simulated[part][method] for part in (VALIDATION, TEST))
        places, given = givers(validation, explanations.units, 1, seed)
        others = given[0][places == unit] if len(given) else []
        for label, places_of in ((name, [unit]), (SHUFFLED + name, others)):
            for place in places_of:
                found[label] = (validation[:, place].astype(np.float64), test[:, place].astype(np.float64))
    return found
