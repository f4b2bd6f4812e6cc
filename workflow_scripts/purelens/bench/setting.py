"""Prepare what a benchmark runs on: a network, its images, and the artifacts that its stages start from."""

from dataclasses import dataclass
from pathlib import Path

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
from purelens.networks.subnetwork import LayerView
from purelens.storage.provenance import Execution
from purelens.storage.reading import read
from purelens.storage.shards import NO_SHARDS

PICTURE = (500, 375)
"""Width and height of a drawn image: the most frequent ones in ImageNet."""


@dataclass(frozen=True)
class ReferenceResult:
    """References of the neurons of a layer, as an implementation found them.

    Attributes
    ----------
    ids, values
        (C, K) reference images of each neuron, and their activations.
    largest, mean
        (N, C) largest and mean activation on each image, where the implementation keeps them.
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
        Neurons that are attributed: those with the most references and the largest activations.
    """

    study: BenchStudy
    folder: Path
    neurons: list[int]

    @property
    def layers(self) -> list[str]:
        """The layers whose references are collected."""
        return self.study.layers or [self.study.layer]

    @property
    def images_h5(self) -> str:
        """The artifact of the rule ``dataset``."""
        return str(self.folder / "images.h5")

    @property
    def model(self) -> tuple[str, str]:
        """Weights and card, of the rule ``model``."""
        return str(self.folder / "model.safetensors"), str(self.folder / "model.json")

    @property
    def layer(self) -> LayerView:
        """The layer whose neurons are split."""
        return LayerView(self.study.layer)

    def execution(self, shard: str = NO_SHARDS) -> Execution:
        """Return how stages compute: in the batches of all implementations."""
        return Execution(self.study.device, self.batch_size, shard)

    @property
    def activations_h5(self) -> str:
        """The artifact of the rule ``activations``."""
        return str(self.folder / "activations.h5")

    def network(self) -> Network:
        """Load the network, frozen."""
        return load_network(*self.model, self.device)

    @property
    def device(self) -> torch.device:
        """The device of all implementations."""
        return choose_device(self.study.device)

    @property
    def batch_size(self) -> int:
        """Images per batch, the same in all implementations."""
        return self.study.batch_size or first_batch_size(self.device, self.study.size)

    def pixels(self) -> np.ndarray:
        """Read all images: (N, S, S, 3) uint8."""
        with read(self.images_h5, "dataset") as file:
            return file["pixels"][...]

    def pairs(self) -> Pairs:
        """Collect the pairs of the neurons and their references."""
        with read(self.activations_h5, "activations") as file:
            return select_pairs(file, list(self.neurons), self.study.layer)


def prepare(study: BenchStudy, folder: Path, n_images: int, n_neurons: int, n_references: int, seed: int) -> Setting:
    """Make the artifacts that the benchmark starts from.

    Parameters
    ----------
    study
        The configuration: a network, a layer, and a folder of images; without one, images are drawn.
    folder
        Where the artifacts go.
    n_images, n_neurons, n_references
        Numbers of images, of neurons that are attributed, and of references.
    seed
        Of random images and weights.

    Returns
    -------
    Setting
        The network, the images and the paths of the artifacts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source"
    chosen = pictures_of(study, source, n_images, seed)
    setting, execution = Setting(study, folder, []), Execution(study.device)
    dataset(str(chosen), setting.images_h5, study.size, study.resize)
    weights = study.weights or str(_random_weights(study, setting, folder, seed))
    model(setting.images_h5, weights, *setting.model, study.architecture, study.options, seed=seed, execution=execution)
    activations(
        setting.images_h5, setting.model, setting.activations_h5, setting.layer, n_references, execution=execution
    )
    return Setting(study, folder, _busiest(setting.activations_h5, n_neurons))


def pictures_of(study: BenchStudy, folder: Path, n_images: int, seed: int) -> Path:
    """Fill a folder with JPEG files: drawn ones, or links to images of the study, of each class in turn.

    Parameters
    ----------
    study
        The configuration.
    folder
        Where the files go.
    n_images, seed
        Number of images, and the seed of those that are drawn.

    Returns
    -------
    pathlib.Path
        The folder.
    """
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
    """Draw smooth colors with some noise, which take about as long to decode as photographs."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(PICTURE, Image.Resampling.BICUBIC), dtype=np.int16)
    noise = rng.integers(-12, 13, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def _random_weights(study: BenchStudy, setting: Setting, folder: Path, seed: int) -> Path:
    """Save random weights whose BatchNorms have the statistics of the images: activations get the size of trained ones."""
    network = build_network(study.architecture, study.options, "random", None, None, seed)
    norms = [layer for layer in network.module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the average over all batches seen
        norm.reset_running_stats()
    with torch.no_grad():
        network.module(network.prepare(setting.pixels()[:8]))
    path = folder / "random.pth"
    torch.save(network.module.state_dict(), path)
    return path


def _busiest(activations_h5: str, n_neurons: int) -> list[int]:
    """Choose the neurons with the most references, then with the largest activations; ascending."""
    with read(activations_h5, "activations") as file:
        count = (file["reference_id"][...] >= 0).sum(axis=1)
        value = file["reference_value"][...].mean(axis=1)
    return sorted(np.lexsort((-value, -count))[:n_neurons].tolist())
