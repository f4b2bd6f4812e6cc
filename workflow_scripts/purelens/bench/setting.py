"""What a benchmark runs on: a network, its images, and the artifacts that its stages start from."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image

from purelens.circuits.activations import activations
from purelens.circuits.pairs import Pairs, select_pairs
from purelens.config.bench import BenchStudy
from purelens.data.dataset import dataset
from purelens.networks.batching import choose_device, first_batch_size
from purelens.networks.loading import Network, build_network, load_network
from purelens.networks.model import model

PICTURE = (500, 375)
"""Width and height of a drawn image: what a photograph of ImageNet has most often."""


@dataclass(frozen=True)
class References:
    """What a way found of a layer.

    Attributes
    ----------
    ids, values
        (C, K) the images that activate each neuron most, and how much.
    largest, mean
        (N, C) largest and mean activation on each image, where the way keeps them.
    """

    ids: np.ndarray
    values: np.ndarray
    largest: np.ndarray | None = None
    mean: np.ndarray | None = None


@dataclass(frozen=True)
class Setting:
    """A network and images, with the artifacts of ``dataset``, ``model`` and ``activations``.

    Attributes
    ----------
    study
        The configuration.
    folder
        Where the artifacts are, and where each implementation writes.
    neurons
        The neurons that are looked at: those of the most references with the largest values.
    """

    study: BenchStudy
    folder: Path
    neurons: list[int]

    @property
    def layers(self) -> list[str]:
        """The layers whose references are collected."""
        return self.study.layers or [self.study.layer]

    @property
    def inputs(self) -> tuple[str, str, str]:
        """Artifacts of the rules ``dataset`` and ``model``, in the order in which stages take them."""
        images, weights, card = (str(self.folder / name) for name in ("images.h5", "model.safetensors", "model.json"))
        return images, weights, card

    @property
    def activations_h5(self) -> str:
        """The artifact of the rule ``activations``."""
        return str(self.folder / "activations.h5")

    def network(self) -> Network:
        """The network, frozen."""
        network = load_network(*self.inputs[1:])
        network.module.to(self.device)
        return network

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return choose_device(self.study.device)

    @property
    def batch_size(self) -> int:
        """The batch that PureLens takes, which all others take too."""
        return self.study.batch_size or first_batch_size(self.device, self.study.size)

    def pixels(self) -> np.ndarray:
        """All images (N, S, S, 3) uint8."""
        with h5py.File(self.inputs[0]) as file:
            return file["pixels"][...]

    def pairs(self) -> Pairs:
        """The pairs of the neurons and their references."""
        with h5py.File(self.activations_h5) as file:
            return select_pairs(file, list(self.neurons), self.study.layer)


def prepare(study: BenchStudy, folder: Path, n_images: int, n_neurons: int, n_references: int, seed: int) -> Setting:
    """Make the artifacts that benchmarks start from.

    Parameters
    ----------
    study
        The configuration: a network, its layer, and a folder of images, or none: they are drawn.
    folder
        Where they go.
    n_images, n_neurons, n_references
        How many.
    seed
        Of random images and weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source"
    chosen = pictures_of(study, source, n_images, seed)
    setting = Setting(study, folder, [])
    dataset(str(chosen), setting.inputs[0], study.size, study.resize)
    weights = study.weights or str(_random_weights(study, setting, folder, seed))
    images_h5, stored, card = setting.inputs
    model(images_h5, weights, stored, card, study.architecture, study.options, device=study.device, seed=seed)
    activations(*setting.inputs, setting.activations_h5, study.layer, n_references, device=study.device)
    return Setting(study, folder, _busiest(setting.activations_h5, n_neurons))


def pictures_of(study: BenchStudy, folder: Path, n_images: int, seed: int) -> Path:
    """A folder of JPEG files: drawn ones, or links to the first of each class of the study's images in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    if study.images is None:
        rng = np.random.default_rng(seed)
        for number in range(n_images):
            _draw(rng).save(_place(folder, "drawn", f"{number:05d}.jpg"), quality=90)
        return folder
    groups = [sorted(path.iterdir()) for path in sorted(Path(study.images).iterdir()) if path.is_dir()]
    in_turn = [group[rank] for rank in range(max(map(len, groups))) for group in groups if rank < len(group)]
    for path in in_turn[:n_images]:
        _place(folder, path.parent.name, path.name).symlink_to(path.resolve())
    return folder


def _place(folder: Path, group: str, name: str) -> Path:
    (folder / group).mkdir(exist_ok=True)
    (folder / group / name).unlink(missing_ok=True)
    return folder / group / name


def _draw(rng: np.random.Generator) -> Image.Image:
    """Smooth colors with some noise, which decode about as slowly as photographs."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(PICTURE, Image.Resampling.BICUBIC), dtype=np.int16)
    noise = rng.integers(-12, 13, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def _random_weights(study: BenchStudy, setting: Setting, folder: Path, seed: int) -> Path:
    """Random weights whose BatchNorms have the statistics of the images, so that activations are as large as trained ones."""
    network = build_network(study.architecture, study.options, "random", None, None, seed)
    norms = [layer for layer in network.module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the average over all batches seen
        norm.reset_running_stats()
    with torch.no_grad():
        network.module(network.normalize(torch.from_numpy(setting.pixels()[:8])))
    path = folder / "random.pth"
    torch.save(network.module.state_dict(), path)
    return path


def _busiest(activations_h5: str, n_neurons: int) -> list[int]:
    """Neurons with the most references, then with the largest values; ascending."""
    with h5py.File(activations_h5) as file:
        found = (file["reference_id"][...] >= 0).sum(axis=1)
        value = file["reference_value"][...].mean(axis=1)
    return sorted(np.lexsort((-value, -found))[:n_neurons].tolist())
