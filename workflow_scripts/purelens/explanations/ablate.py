"""The rule ``ablate``: measure how the network's loss changes when neurons are replaced by their simulations."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from purelens.data.dataset import Images, open_images
from purelens.data.splits import TEST, VALIDATION
from purelens.explanations.methods import SHUFFLED
from purelens.explanations.simulation import Explanations, open_explanations, shuffled, simulations
from purelens.explanations.table import open_concepts
from purelens.explanations.units import WHOLE_NEURON
from purelens.networks.batching import choose_device, in_batches
from purelens.networks.loading import Network, load_network
from purelens.networks.subnetwork import LayerView, Segment, find_layer
from purelens.numerics.bootstrap import Intervals, estimate
from purelens.progress import Progress
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

MAX_DIFFERENCE = 1e-3
"""Largest relative difference of a head's input from the pooled layer for the head to follow the layer."""

COLUMNS = ("method", "neuron", "head", "temperature", "score")
SUMMARY_COLUMNS = ("method", "quantity", "mean", "standard_error", "low", "high", "n")


def ablate(
    images_h5: str,
    model: tuple[str, str],
    activations_h5: str,
    explanations_h5: str,
    concepts_h5: str,
    assignments_h5: Sequence[str],
    ablation_csv: str,
    summary_csv: str,
    layer: LayerView,
    n_neurons: int,
    intervals: Intervals,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Score explanations by how little the loss changes when their simulations replace the neurons.

    Parameters
    ----------
    images_h5, model, activations_h5, explanations_h5, concepts_h5, assignments_h5
        As in `purelens.explanations.simulate.simulate`, and the network.
    ablation_csv
        One row per method and neuron; none if the images have no labels that the network knows.
    summary_csv
        Means over neurons with intervals.
    layer
        The layer.
    n_neurons
        Number of neurons that are replaced if no linear head follows the layer: each costs passes of the whole network.
    intervals
        Settings of the bootstrap; its seed also shuffles the controls.
    execution
        Device and batch size.

    Notes
    -----
    Oikarinen & Weng 2024, section 4.2: one minus the sum over test images of the absolute change of the cross-entropy, divided
    by that when the neuron is replaced by its mean. The simulation is brought to the neuron's scale by least squares on the
    validation images. Where no linear head follows the layer, the neuron's map is shifted so that its mean is the simulated
    one, and the network runs once more: a perfect simulation changes nothing.
    """
    network = load_network(*model, choose_device(execution.device))
    with (
        open_images(images_h5) as images,
        open_concepts(concepts_h5) as ground_truth,
        open_explanations(
            explanations_h5, activations_h5, assignments_h5[0] if assignments_h5 else None, ground_truth
        ) as explanations,
    ):
        ablation = Ablation(network, images, layer, execution.batch_size)
        label = images.file["label"][...]
        splits = {split: np.flatnonzero((ground_truth.split == split) & (label >= 0)) for split in (VALIDATION, TEST)}
        rows: list[dict[str, Any]] = []
        if min(map(len, splits.values())) < 2 or ablation.n_classes is None or label.max() >= ablation.n_classes:
            logger.warning(
                "no ablation: the images have no labels, or others than the network's %s outputs", ablation.n_classes
            )
        else:
            scorer = _scorer(ablation, explanations, label, splits, ground_truth.probabilities)
            rows = scorer.rows(n_neurons, intervals.seed)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_table(ablation_csv, table)
    summary = [
        {"method": name, "quantity": "ablation", **vars(estimate(group["score"].to_numpy(float), intervals))}
        for name, group in table.groupby("method", sort=False)
    ]
    write_table(summary_csv, pd.DataFrame(summary, columns=list(SUMMARY_COLUMNS)))


class Ablation:
    """Replace single neurons of a layer on some images.

    Parameters
    ----------
    network, images, layer
        The network, the images and the layer.
    batch_size
        Images per batch at first; None: what the device is given.

    Attributes
    ----------
    head_weight
        (classes, C) weights of the linear head that follows the layer; None where none does.
    n_classes
        Number of the network's outputs; None if they are not one per class.
    """

    def __init__(self, network: Network, images: Images, layer: LayerView, batch_size: int | None) -> None:
        self._network, self._images, self._batch_size = network, images, batch_size
        self._layer, _ = Segment(network.module, layer.name).resolve(layer, images.size)
        self.head_weight = find_head(network, self._layer, self._prepared(np.arange(min(4, len(images)))))
        outputs = self.logits(np.arange(1))
        self.n_classes = outputs.shape[1] if outputs.ndim == 2 else None

    def _prepared(self, images: np.ndarray) -> torch.Tensor:
        return self._network.prepare(self._images.take(images))

    def logits(self, images: np.ndarray, neuron: int = 0, change: np.ndarray | None = None) -> np.ndarray:
        """Run the network on some images.

        Parameters
        ----------
        images
            (n,) image ids.
        neuron
            The neuron whose maps are shifted.
        change
            (n,) by how much, on each image; None: not at all.

        Returns
        -------
        numpy.ndarray
            (n, classes).
        """

        def forward(start: int, stop: int, _: int) -> np.ndarray:
            def shift(_: object, __: object, output: torch.Tensor) -> torch.Tensor | None:
                if change is None:
                    return None
                changed = output.clone()
                by = torch.from_numpy(change[start:stop]).to(output)
                self._layer.maps(changed)[:, neuron] += by[:, None]  # maps are a view of the output
                return changed

            handle = find_layer(self._network.module, self._layer.name).register_forward_hook(shift)
            try:
                with torch.inference_mode():
                    return self._network.module(self._prepared(images[start:stop])).float().cpu().numpy()
            finally:
                handle.remove()

        batches = in_batches(forward, len(images), self._network.device, self._images.size, self._batch_size)
        return np.concatenate([logits for _, _, logits in batches])

    def replaced(
        self, images: np.ndarray, logits: np.ndarray, neuron: int, true: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Compute the logits with the mean activations of a neuron replaced.

        Parameters
        ----------
        images
            (n,) image ids.
        logits
            (n, classes) without a replacement.
        neuron
            The neuron.
        true, values
            (n,) its mean activations, and what replaces them.

        Returns
        -------
        numpy.ndarray
            (n, classes).
        """
        if self.head_weight is not None:
            return logits + np.outer(values - true, self.head_weight[:, neuron])
        return self.logits(images, neuron, values - true)


def find_head(network: Network, layer: LayerView, images: torch.Tensor) -> np.ndarray | None:
    """Find the linear head that takes the spatial means of a layer and gives the network's output.

    Parameters
    ----------
    network, layer
        The network and the layer.
    images
        (b, 3, H, W) a few normalized images, on which the means and the head's input are compared.

    Returns
    -------
    numpy.ndarray or None
        (classes, C) its weights; None if there is no such head.
    """
    linear = [part for part in network.module.modules() if isinstance(part, torch.nn.Linear)]
    recorded: dict[str, torch.Tensor] = {}
    if not linear:
        return None
    handles = [
        find_layer(network.module, layer.name).register_forward_hook(
            lambda _, __, output: recorded.update(layer=output.clone())
        ),
        linear[-1].register_forward_hook(lambda _, inputs, output: recorded.update(input=inputs[0], output=output)),
    ]
    with torch.inference_mode():
        answer = network.module(images)
    for handle in handles:
        handle.remove()
    pooled = layer.maps(recorded["layer"]).mean(dim=-1)
    follows = (
        recorded.get("input", answer[:, :0]).shape == pooled.shape
        and float((recorded["input"] - pooled).abs().max() / pooled.abs().max().clamp(min=1e-12)) < MAX_DIFFERENCE
        and torch.equal(recorded["output"], answer)
    )
    return linear[-1].weight.detach().double().cpu().numpy() if follows else None


def losses(logits: np.ndarray, label: np.ndarray, temperature: float) -> np.ndarray:
    """Compute the cross-entropy of each image.

    Parameters
    ----------
    logits, label
        (n, classes) outputs of the network, and (n,) classes.
    temperature
        Divides the logits.

    Returns
    -------
    numpy.ndarray
        (n,) in nats.
    """
    scaled = logits.astype(np.float64) / temperature
    return logsumexp(scaled, axis=1) - scaled[np.arange(len(label)), label]


def best_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """Find the temperature between exp(-3) and exp(3) at which logits (n, classes) fit the labels (n,) best."""
    optimum = minimize_scalar(
        lambda log: losses(logits, label, float(np.exp(log))).mean(), bounds=(-3, 3), method="bounded"
    )
    return float(np.exp(optimum.x))


def scaled_like(true: np.ndarray, simulated: np.ndarray) -> tuple[float, float]:
    """Find the slope and the constant that bring a simulation (n,) nearest to a neuron (n,), by least squares."""
    centered = simulated - simulated.mean()
    spread = float(centered @ centered)
    slope = float(centered @ (true - true.mean())) / spread if spread > 1e-18 else 0.0
    return slope, float(true.mean() - slope * simulated.mean())


def _warn_near_chance(logits: np.ndarray, label: np.ndarray) -> None:
    """Warn if logits (n, classes) hardly fit the labels (n,), as when the classes are in another order."""
    right, chance = float((logits.argmax(axis=1) == label).mean()), 1 / logits.shape[1]
    if right <= 2 * chance:
        logger.warning(
            "the network is right on %.1f %% of the test images, by chance it were %.1f %%: are the classes of the images in "
            "the order of its outputs? if not, the scores of ablation mean nothing", 100 * right, 100 * chance,
        )  # fmt: skip


@dataclass(frozen=True)
class _Scorer:
    """Everything that the scores of one layer need, by split of the images.

    Attributes
    ----------
    ablation, explanations
        The layer and its explanations.
    images, label
        (n,) test images and their labels.
    logits
        (n, classes) on test images.
    temperature
        Fitted on validation images.
    pooled
        Mean activations of all units on the images of each split.
    simulated
        Predictions of each method on the images of each split.
    """

    ablation: Ablation
    explanations: Explanations
    images: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    temperature: float
    pooled: dict[int, np.ndarray]
    simulated: dict[int, list[np.ndarray]]

    def rows(self, n_neurons: int, seed: int) -> list[dict[str, Any]]:
        """Score every method, and its shuffled control, on the neurons that are replaced."""
        units = self.explanations.units
        whole = np.flatnonzero(units.virtual_neuron == WHOLE_NEURON)
        has_head = self.ablation.head_weight is not None
        chosen = whole if has_head else whole[:: max(1, len(whole) // max(n_neurons, 1))][:n_neurons]
        rows = []
        with Progress(len(chosen), "ablation", "neurons") as progress:
            for unit in chosen.tolist():
                for name, score in self._scores(unit, seed).items():
                    row = {"method": name, "neuron": int(units.neuron[unit])}
                    head = "linear" if has_head else "network"
                    rows.append({**row, "head": head, "temperature": self.temperature, "score": score})
                progress.advance(1)
        return rows

    def _scores(self, unit: int, seed: int) -> dict[str, float]:
        """Score the methods on one neuron."""
        true = self.pooled[VALIDATION][:, unit]
        worst = self._change(unit, np.full(len(self.images), true.mean()))
        scores = {}
        for name, (predicted, held_out) in self._predictions(unit, seed).items():
            if np.isnan(predicted).any() or worst <= 0:
                continue
            slope, constant = scaled_like(true, predicted)
            scores[name] = 1 - self._change(unit, slope * held_out + constant) / worst
        return scores

    def _change(self, unit: int, values: np.ndarray) -> float:
        """Sum the absolute changes of the test images' losses when values (n,) replace a neuron."""
        neuron = int(self.explanations.units.neuron[unit])
        replaced = self.ablation.replaced(self.images, self.logits, neuron, self.pooled[TEST][:, unit], values)
        return float(np.abs(losses(replaced, self.label, self.temperature) - self._before).sum())

    @cached_property
    def _before(self) -> np.ndarray:
        return losses(self.logits, self.label, self.temperature)

    def _predictions(self, unit: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Predict a neuron by each method and its shuffled control on validation and on test images."""
        predictions = {}
        for method, name in enumerate(self.explanations.methods):
            validation, test = (self.simulated[split][method] for split in (VALIDATION, TEST))
            places, givers = shuffled(validation, self.explanations.units, 1, seed)
            others = givers[0][places == unit] if len(givers) else []
            for label, places_of in ((name, [unit]), (SHUFFLED + name, others)):
                for place in places_of:
                    predictions[label] = (validation[:, place].astype(np.float64), test[:, place].astype(np.float64))
        return predictions


def _scorer(
    ablation: Ablation,
    explanations: Explanations,
    label: np.ndarray,
    splits: dict[int, np.ndarray],
    probabilities: Callable[[np.ndarray], np.ndarray],
) -> _Scorer:
    validation, test = splits[VALIDATION], splits[TEST]
    every = slice(0, len(explanations.units))
    logits = ablation.logits(test)
    _warn_near_chance(logits, label[test])
    methods = range(len(explanations.methods))
    return _Scorer(
        ablation=ablation,
        explanations=explanations,
        images=test,
        label=label[test],
        logits=logits,
        temperature=best_temperature(ablation.logits(validation), label[validation]),
        pooled={split: explanations.units.activations(every, images) for split, images in splits.items()},
        simulated={
            split: [simulations(explanations, method, probabilities(images)) for method in methods]
            for split, images in splits.items()
        },
    )
