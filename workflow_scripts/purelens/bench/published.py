"""The published implementation: zennit-crp, and the loop of PURE over neurons on top of it.

Written from the description of the method (Dreyer et al. 2024, and the documentation of the programs) on today's zennit-crp.
PURE starts thousands of worker processes; here their work is done in this process, which favors the published implementation.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional

from purelens.bench.setting import ReferenceResult, Setting
from purelens.circuits.boxes import boxes
from purelens.networks.imports import torchvision
from purelens.networks.loading import Network

LRP_BATCH = 50
KERNEL, THRESHOLD = 5, 0.02
FIGURE_KERNEL = 51


class Pictures(torch.utils.data.Dataset):
    """Normalized images with class 0, the format of zennit-crp."""

    def __init__(self, setting: Setting, network: Network) -> None:
        self._network, self._pixels = network, setting.pixels()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._network.prepare(self._pixels[int(index)][None])[0], 0

    def __len__(self) -> int:
        return len(self._pixels)


def canonizers(architecture: str) -> list[Any]:
    """Return zennit's canonizers for a network of torchvision; none for others, whose blocks zennit does not know."""
    torchvision()
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.torchvision import ResNetCanonizer

    library, _, name = architecture.partition(":")
    if library != "torchvision":
        return []
    return [ResNetCanonizer() if "resnet" in name else SequentialMergeBatchNorm()]


def views(setting: Setting, folder: Path, layers: Sequence[str]) -> Any:
    """Create zennit-crp's `FeatureVisualization` for some layers.

    Parameters
    ----------
    setting
        A network and images.
    folder
        Where it writes what it collects.
    layers
        Names of the layers.

    Returns
    -------
    FeatureVisualization
        Of zennit-crp, before its run.
    """
    torchvision()
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.visualization import FeatureVisualization

    network = setting.network()
    return FeatureVisualization(
        CondAttribution(network.module), Pictures(setting, network), {layer: ChannelConcept() for layer in layers},
        preprocess_fn=lambda images: images, path=str(folder), max_target="max", abs_norm=False,
    )  # fmt: skip


def references(setting: Setting, folder: Path, n_references: int, layers: Sequence[str]) -> list[ReferenceResult]:
    """Find the references of all neurons of some layers by `FeatureVisualization.run`.

    Parameters
    ----------
    setting, folder, layers
        As for `views`.
    n_references
        K.

    Returns
    -------
    list
        The references of each layer, in the order of ``layers``.
    """
    from crp.helper import load_maximization
    from zennit.composites import EpsilonPlusFlat

    visualization = views(setting, folder, layers)
    visualization.ActMax.SAMPLE_SIZE = visualization.RelMax.SAMPLE_SIZE = n_references
    composite = EpsilonPlusFlat(canonizers(setting.study.architecture))
    visualization.run(composite, 0, len(visualization.dataset), setting.batch_size, 500)
    collected = [load_maximization(visualization.ActMax.PATH, layer) for layer in layers]
    return [ReferenceResult(np.asarray(ids).T, np.asarray(values).T) for ids, values, _ in collected]


def relevances(setting: Setting) -> np.ndarray:
    """Attribute each neuron by `CondAttribution`, as PURE does: (C, K, C_lower), each vector of absolute sum 1."""
    torchvision()
    from crp.attribution import CondAttribution
    from zennit.composites import Composite

    study, pairs, network = setting.study, setting.pairs(), setting.network()
    pictures, attribution = Pictures(setting, network), CondAttribution(network.module)
    recorded = [study.lower_layer, study.layer]
    rows = []
    for neuron, ids in zip(pairs.neurons.tolist(), pairs.reference_id, strict=True):
        vectors, mean, largest = [], [], []
        for start in range(0, len(ids), setting.batch_size):
            batch = torch.stack([pictures[index][0] for index in ids[start : start + setting.batch_size]])
            result = attribution(
                batch.to(setting.device).requires_grad_(), [{study.layer: [neuron]}], Composite(), record_layer=recorded,
                start_layer=study.layer, init_rel=lambda a: a.clamp(min=0), exclude_parallel=True,
            )  # fmt: skip
            product = result.activations[study.lower_layer].cpu() * result.relevances[study.lower_layer].cpu()
            mean.append(result.activations[study.layer].cpu().flatten(2).mean(dim=2))
            largest.append(result.activations[study.layer].cpu().flatten(2).amax(dim=2))
            vectors.append(product.flatten(2).sum(dim=2).detach())
        vector = torch.cat(vectors)
        rows.append(vector / (vector.abs().sum(dim=1, keepdim=True) + 1e-10))
    return torch.stack(rows).numpy()


Picture = Callable[[torch.Tensor, torch.Tensor, bool], list[Any]]


def patches(
    setting: Setting, collected: Path, neurons: Sequence[int], n_references: int, picture: Picture
) -> list[list[Any]]:
    """Locate the patches of neurons by `get_max_reference` with the receptive field.

    Parameters
    ----------
    setting, collected
        A network and images, and the folder that `references` filled.
    neurons, n_references
        Numbers of the neurons, and K.
    picture
        Draws the images and heatmaps of a neuron.

    Returns
    -------
    list
        For each neuron the cut-out references, as images.
    """
    from zennit.composites import EpsilonPlusFlat

    visualization = views(setting, collected, [setting.study.layer])
    composite = EpsilonPlusFlat(canonizers(setting.study.architecture))
    drawn = []
    for neuron in neurons:
        of_neuron = visualization.get_max_reference(
            neuron, setting.study.layer, "activation", (0, n_references), composite=composite, rf=True, plot_fn=picture,
            batch_size=LRP_BATCH,
        )  # fmt: skip
        drawn.append(of_neuron[neuron])
    return drawn


@torch.no_grad()
def crops(data: torch.Tensor, heatmaps: torch.Tensor, _: bool) -> list[list[int]]:
    """Cut each image to its box; return the boxes, for comparison.

    Parameters
    ----------
    data, heatmaps
        (n, 3, H, W) images and (n, H, W) relevances.
    _
        Whether zennit-crp cuts the receptive field out; it does not.

    Returns
    -------
    list
        Top, left, bottom and right of each box, ends excluded.
    """
    torchvision()
    from zennit.image import imgify

    cuts = []
    for image, heat in zip(data, heatmaps, strict=True):
        smooth = torchvision().transforms.functional.gaussian_blur(heat[None], kernel_size=KERNEL)[0].abs()
        box = boxes((smooth / smooth.max())[None], THRESHOLD, "published")[0].tolist()
        top, left, bottom, right = box
        imgify(image[:, top:bottom, left:right])
        cuts.append(box)
    return cuts


@torch.no_grad()
def framed(data: torch.Tensor, heatmaps: torch.Tensor, _: bool) -> list[Image.Image]:
    """Draw each patch as the figures of PURE: irrelevant regions dimmed, relevant ones outlined.

    Parameters
    ----------
    data, heatmaps, _
        As for `crops`.

    Returns
    -------
    list
        One picture per reference.
    """
    torchvision()
    from zennit.image import imgify

    pictures = []
    for image, heat in zip(data, heatmaps, strict=True):
        smooth = torchvision().transforms.functional.gaussian_blur(heat[None], kernel_size=FIGURE_KERNEL)[0].abs()
        smooth = smooth / smooth.max()
        visible = (smooth > THRESHOLD).float()
        picture = imgify(image * visible + image * (1 - visible) * 0.3).convert("RGB")
        _outline(picture, visible.numpy() > 0)
        top, left, bottom, right = boxes(smooth[None], THRESHOLD / 2, "published")[0].tolist()
        pictures.append(picture.crop((left, top, right, bottom)))
    return pictures


def _outline(picture: Image.Image, visible: np.ndarray) -> None:
    """Draw a dot at each pixel of the edge, one by one."""
    edge = functional.max_pool2d(torch.from_numpy(visible)[None].float(), 3, 1, 1)[0].numpy() > visible
    draw = ImageDraw.Draw(picture)
    for row in range(edge.shape[0]):
        for column in range(edge.shape[1]):
            if edge[row, column]:
                draw.ellipse((column - 1, row - 1, column + 1, row + 1), fill=(0, 0, 0))
