"""The rule ``world_cnn``: train the residual CNN of the embedded world."""

import logging
from collections.abc import Iterator

import torch
from torch.nn import functional

from purelens.networks.checkpoints import write_weights
from purelens.progress import Progress
from purelens.storage.files import write_json
from purelens.storage.reading import read
from purelens.world.cnn import scene_cnn
from purelens.world.scenes import CLASSES

logger = logging.getLogger("purelens")

BATCH_SIZE = 128
PEAK_LEARNING_RATE = 0.01
WEIGHT_DECAY = 0.02


def world_cnn(
    train_h5: str,
    test_h5: str,
    weights: str,
    accuracy_json: str,
    epochs: int,
    seed: int = 0,
) -> None:
    """Train the CNN on scenes and measure its accuracy on others.

    Parameters
    ----------
    train_h5, test_h5
        Training scenes and test scenes.
    weights
        The state dict, safetensors.
    accuracy_json
        Accuracy on the test scenes.
    epochs
        Epochs over the training scenes.
    seed
        Seed of the initial weights and of the order of the scenes.
    """
    torch.manual_seed(seed)
    images, labels = load_scenes(train_h5)
    network = scene_cnn(len(CLASSES)).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = epochs * (len(images) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    with Progress(steps, "training the CNN", "steps") as progress:
        for batch in batches(len(images), epochs, BATCH_SIZE):
            loss = functional.cross_entropy(network(normalized(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.advance(1)
    network.eval()
    images, labels = load_scenes(test_h5)
    with torch.inference_mode():
        guesses = torch.cat([network(normalized(part)).argmax(dim=1) for part in images.split(250)])
    accuracy = (guesses == labels).float().mean().item()
    logger.info("accuracy of the CNN on %d held-out scenes: %.1f %%", len(labels), 100 * accuracy)
    write_weights(weights, network.state_dict())
    write_json(accuracy_json, {"accuracy": accuracy, "scenes": len(labels), "classes": len(CLASSES)})


def load_scenes(path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Load the pixels (N, 64, 64, 3) uint8 and labels (N,) of scenes."""
    with read(path, "scenes") as file:
        return torch.from_numpy(file["pixels"][...]), torch.from_numpy(file["label"][...]).long()


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """Normalize images (b, 64, 64, 3) uint8 to (b, 3, 64, 64) in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def batches(n_images: int, epochs: int, batch_size: int) -> Iterator[torch.Tensor]:
    """Draw shuffled batches of indices; the rest of an epoch that fills no batch is left out.

    Parameters
    ----------
    n_images, batch_size
        Number of images, and images per batch.
    epochs
        Number of epochs.

    Yields
    ------
    torch.Tensor
        (size,) indices.
    """
    for _ in range(epochs):
        order = torch.randperm(n_images)
        yield from order[: n_images // batch_size * batch_size].split(batch_size)
