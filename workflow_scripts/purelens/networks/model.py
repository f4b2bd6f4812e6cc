"""The rule ``model``: load a network and store it as every later stage loads it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from purelens.data.dataset import open_images
from purelens.networks.architectures import library_of
from purelens.networks.batching import choose_device, in_batches
from purelens.networks.checkpoints import write_weights
from purelens.networks.loading import Network, build_network, check_rebuilt, rebuilding_options
from purelens.networks.same_outputs import check_same_in_a_batch
from purelens.storage.files import write_json
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution

logger = logging.getLogger("purelens")

ACCURACY_IMAGES = 500


def model(
    images_h5: str,
    weights: str,
    model_safetensors: str,
    card_json: str,
    architecture: str,
    options: Mapping[str, Any],
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    seed: int = 0,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Store the weights of a network, and a card with its architecture, normalization and accuracy.

    Parameters
    ----------
    images_h5
        Artifact of the rule ``dataset``.
    weights
        ``published``, ``random`` or a checkpoint file.
    model_safetensors, card_json
        The artifacts.
    architecture, options, mean, std
        See `purelens.networks.loading.build_network`.
    seed
        Seed of random weights, and of the sample of images whose accuracy is measured.
    execution
        Device and batch size.

    Raises
    ------
    UserError
        If the weights cannot be had or do not fit the architecture, or do not hold all of the network; or if an image's
        activations depend on the rest of its batch.
    """
    network = build_network(architecture, options, weights, mean, std, seed)
    options = rebuilding_options(architecture, options, weights)
    with open_images(images_h5) as images:
        check_rebuilt(network, architecture, options, images.size)
        check_same_in_a_batch(network.module, images.size)
    card = {
        "architecture": _from_here(architecture),
        "options": options,
        "weights": Path(weights).name,
        "mean": list(network.mean),
        "std": list(network.std),
        "parameters": sum(p.numel() for p in network.module.parameters()),
        **_accuracy(network.to(choose_device(execution.device)), images_h5, execution.batch_size, seed),
    }
    write_weights(model_safetensors, network.module.state_dict())
    write_json(card_json, card)


def _from_here(architecture: str) -> str:
    """Name a file of a network from the folder of the run, if it is in it: results are shared, and name no other folder."""
    file, name = library_of(architecture)
    if file.endswith(".py") and Path(file).is_absolute() and Path(file).is_relative_to(Path.cwd()):
        return f"{Path(file).relative_to(Path.cwd())}:{name}"
    return architecture


def _accuracy(network: Network, images_h5: str, batch_size: int | None, seed: int) -> dict[str, float | int | None]:
    """Measure the top-1 accuracy on a random sample of the labeled images, if the network has an output for each class."""
    with open_images(images_h5) as images:
        label, n_classes = images.file["label"][...], len(images.file["class_name"])
        labeled = np.flatnonzero(label >= 0)
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.choice(labeled, size=min(ACCURACY_IMAGES, len(labeled)), replace=False))

        def right(start: int, stop: int, _: int) -> int | None:
            with torch.inference_mode():
                output = network.module(network.prepare(images.take(sample[start:stop])))
            if not isinstance(output, torch.Tensor) or output.ndim != 2 or output.shape[1] != n_classes:
                return None
            return int((output.argmax(dim=1).cpu().numpy() == label[sample[start:stop]]).sum())

        counts = [count for _, _, count in in_batches(right, len(sample), network.device, images.size, batch_size)]
    if not counts or None in counts:
        logger.warning(
            "the accuracy is not known: %d images are labeled, with %d classes, and the network has another number of outputs",
            len(labeled),
            n_classes,
        )
        return {"top1": None, "top1_images": 0}
    top1 = sum(count for count in counts if count is not None) / len(sample)
    chance = 1 / n_classes
    logger.info("top-1 accuracy %.1f %% on %d images (chance %.1f %%)", 100 * top1, len(sample), 100 * chance)
    if top1 < min(2 * chance, (1 + chance) / 2):  # of two classes twice the chance is perfect
        logger.warning("that is near chance: are the weights, the normalization and the order of the classes right?")
    return {"top1": top1, "top1_images": len(sample)}
