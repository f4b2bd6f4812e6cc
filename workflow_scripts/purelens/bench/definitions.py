"""Run the definitions of ``bench/reference`` on the setting of a benchmark."""

from collections.abc import Sequence

import numpy as np
import torch

from purelens.bench.published import canonizers
from purelens.bench.reference import circuits, clusters, explanations, heatmaps, lens
from purelens.bench.reference.boxes import published_box
from purelens.bench.setting import ReferenceResult, Setting

__all__ = ["boxes", "clusters", "explanations", "lens", "references", "relevances"]


def references(setting: Setting, n_references: int, layers: Sequence[str]) -> list[ReferenceResult]:
    """Find the references of all neurons of some layers, with a whole forward pass for each image.

    Parameters
    ----------
    setting
        A network and images.
    n_references
        K.
    layers
        Names of the layers.

    Returns
    -------
    list
        The references of each layer, in the order of ``layers``.
    """
    network = setting.network()
    rows: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    for pixels in setting.pixels():
        with torch.no_grad():
            for layer, output in circuits.outputs(network.module, list(layers), network.prepare(pixels[None])).items():
                maps = output.flatten(2)
                rows[layer].append(torch.stack([maps.amax(dim=2), maps.mean(dim=2)]).cpu())
    pooled = {layer: torch.cat(rows[layer], dim=1) for layer in layers}
    return [_ranked(largest, mean, n_references) for largest, mean in pooled.values()]


def _ranked(largest: torch.Tensor, mean: torch.Tensor, n_references: int) -> ReferenceResult:
    ids = np.array(circuits.references(largest, n_references))
    values = np.take_along_axis(largest.numpy().T, np.maximum(ids, 0), axis=1)
    return ReferenceResult(ids, np.where(ids >= 0, values, 0), largest.numpy(), mean.numpy())


def relevances(setting: Setting) -> np.ndarray:
    """Attribute each pair by a whole forward and backward pass: (C, K, C_lower)."""
    network, pairs, pixels = setting.network(), setting.pairs(), setting.pixels()
    study = setting.study
    return np.stack(
        [
            [
                circuits.relevance(
                    network.module, study.layer, study.lower_layer, neuron,
                    network.prepare(pixels[[image]]),
                ).cpu().numpy()
                for image in ids
            ]
            for neuron, ids in zip(pairs.neurons.tolist(), pairs.reference_id.tolist(), strict=True)
        ]
    )  # fmt: skip


def boxes(setting: Setting) -> list[list[list[int]]]:
    """Find the published box of each pair by a whole forward and backward pass of zennit's composite: (C, K, 4)."""
    network, pairs, pixels = setting.network(), setting.pairs(), setting.pixels()
    units = [
        (neuron, int(position), network.prepare(pixels[[int(image)]]))
        for row, neuron in enumerate(pairs.neurons.tolist())
        for image, position in zip(pairs.reference_id[row], pairs.reference_position[row], strict=True)
    ]
    maps = heatmaps.heatmaps(network.module, setting.study.layer, units, canonizers(setting.study.architecture))
    flat = [published_box(heat.cpu()) for heat in maps]
    n_references = pairs.reference_id.shape[1]
    return [flat[start : start + n_references] for start in range(0, len(flat), n_references)]
