"""The rule ``world_clip``: train the small CLIP of the embedded world.

It is a CLIP of open_clip's own class. A vision transformer this small learns shapes slowly from captions alone, so linear heads
read the attributes from its embedding and the object's mask from its tokens during the training; they are dropped afterwards.
"""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from purelens.networks.checkpoints import write_weights
from purelens.networks.imports import open_clip
from purelens.progress import Progress
from purelens.storage.files import write_json
from purelens.storage.reading import read
from purelens.world.muon import Muon
from purelens.world.scenes import ATTRIBUTES, SIZE
from purelens.world.world_cnn import batches

logger = logging.getLogger("purelens")

MODEL_CONFIG = Path(__file__).with_name("scene_clip.json")
CAPTION_TEMPLATES = {"shape": "a {}", "color": "a {} object", "texture": "a {} object", "background": "an object on {}"}
BATCH_SIZE = 32
MUON_LEARNING_RATE = 0.01
ADAM_LEARNING_RATE = 1e-3
WARM_UP = 0.1
POSITION_SCALE = 0.5
HEAD_SCALE = 8.0
MASK_BLOCK = 1


def world_clip(
    train_h5: str,
    test_h5: str,
    weights: str,
    accuracy_json: str,
    epochs: int,
    seed: int = 0,
) -> None:
    """Train a CLIP on scenes and their captions, and measure its zero-shot accuracy on other scenes.

    Parameters
    ----------
    train_h5, test_h5
        Training scenes and test scenes.
    weights
        The state dict, safetensors.
    accuracy_json
        Zero-shot accuracy of each attribute, and their mean.
    epochs
        Epochs over the training scenes.
    seed
        Seed of the initial weights and of the order of the scenes.
    """
    torch.manual_seed(seed)
    scenes = Scenes(train_h5)
    trainer = Trainer(build_model())
    steps = epochs * (len(scenes.pixels) // BATCH_SIZE)
    with Progress(steps, "training the CLIP", "steps") as progress:
        for step, batch in enumerate(batches(len(scenes.pixels), epochs, BATCH_SIZE)):
            trainer.step(scenes, batch, learning_rate(step, steps))
            progress.advance(1)
    model = trainer.model.eval().requires_grad_(False)
    accuracy = zero_shot_accuracy(model, Scenes(test_h5))
    accuracy["mean"] = sum(accuracy.values()) / len(accuracy)
    logger.info("zero-shot accuracy of the CLIP: %s", {k: f"{100 * v:.1f} %" for k, v in accuracy.items()})
    write_weights(weights, model.state_dict())
    write_json(accuracy_json, {"zero_shot": accuracy})


class Scenes:
    """Hold the pixels, attributes, captions and masks of scenes in memory.

    Attributes
    ----------
    pixels, masks
        (N, 64, 64, 3) and (N, 64, 64) uint8.
    attributes
        (N, 4) number of the value of each attribute.
    captions
        N captions.
    """

    def __init__(self, path: str) -> None:
        with read(path, "scenes") as file:
            self.pixels = torch.from_numpy(file["pixels"][...])
            self.masks = torch.from_numpy(file["mask"][...])
            self.captions = [caption.decode() for caption in file["caption"][...]]
            concepts = torch.from_numpy(file["concept"][...])
        parts = concepts.split([len(values) for values in ATTRIBUTES.values()], dim=1)
        self.attributes = torch.stack([part.argmax(dim=1) for part in parts], dim=1)


def build_model() -> Any:
    """Build the CLIP with random weights; position embeddings start as sines and cosines of row and column."""
    model = open_clip().CLIP(**json.loads(MODEL_CONFIG.read_text(encoding="utf-8")))
    positions = model.visual.positional_embedding
    with torch.no_grad():
        side = math.isqrt(len(positions) - 1)
        positions[1:] = POSITION_SCALE * sine_positions(side, positions.shape[1])
    # random vectors tell the few words apart; updating three million weights would take most of the time
    model.token_embedding.weight.requires_grad_(False)
    return model


def sine_positions(side: int, width: int) -> torch.Tensor:
    """Compute sines and cosines of the row and the column of each patch: (side * side, width)."""
    rows, columns = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    rates = 100 ** -(torch.arange(width // 4) / (width // 4))
    waves = [wave(at.flatten()[:, None] * rates) for at in (columns, rows) for wave in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """Normalize images (b, 64, 64, 3) uint8 to (b, 3, 64, 64) as open_clip does."""
    library = open_clip()
    mean = torch.tensor(library.OPENAI_DATASET_MEAN)[:, None, None]
    std = torch.tensor(library.OPENAI_DATASET_STD)[:, None, None]
    return (pixels.permute(0, 3, 1, 2).float().div(255) - mean) / std


def tokenize(texts: Sequence[str]) -> torch.Tensor:
    """Tokenize texts: (n, 16)."""
    return open_clip().SimpleTokenizer(context_length=16)(list(texts))


def prompts() -> list[torch.Tensor]:
    """Tokenize the captions that name one value of one attribute, for each attribute."""
    return [
        tokenize([CAPTION_TEMPLATES[name].format(value) for value in values]) for name, values in ATTRIBUTES.items()
    ]


def learning_rate(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: a linear rise, then a cosine."""
    rise = max(1, int(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


class Trainer:
    """Train a CLIP on scenes.

    Parameters
    ----------
    model
        The CLIP.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._patch = model.visual.patch_size[0]
        self._prompts = prompts()
        self._heads = nn.ModuleList(nn.Linear(model.visual.output_dim, len(v)) for v in ATTRIBUTES.values())
        self._mask_head = nn.Linear(model.visual.positional_embedding.shape[1], self._patch**2)
        blocks = model.visual.transformer.resblocks
        blocks[MASK_BLOCK].register_forward_hook(self._keep_tokens)
        named = dict(model.named_parameters())
        matrices = [p for name, p in named.items() if p.requires_grad and p.ndim == 2 and "resblocks" in name]
        chosen = {id(p) for p in matrices}
        self._weights = [p for m in (model, self._heads, self._mask_head) for p in m.parameters() if p.requires_grad]
        others = [p for p in self._weights if id(p) not in chosen]
        self._muon = Muon(matrices, MUON_LEARNING_RATE)
        self._adam = torch.optim.AdamW(others, ADAM_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)

    def _keep_tokens(self, _: nn.Module, __: object, output: torch.Tensor) -> None:
        self._tokens = output[:, 1:]

    def step(self, scenes: Scenes, batch: torch.Tensor, rate: float) -> None:
        """Train on one batch.

        Parameters
        ----------
        scenes
            The training scenes.
        batch
            (b,) their numbers.
        rate
            Share of the peak learning rates.
        """
        self._muon.param_groups[0]["lr"] = rate * MUON_LEARNING_RATE
        self._adam.param_groups[0]["lr"] = rate * ADAM_LEARNING_RATE
        loss = self._loss(scenes, batch)
        self._muon.zero_grad()
        self._adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._muon.step()
        self._adam.step()

    def _loss(self, scenes: Scenes, batch: torch.Tensor) -> torch.Tensor:
        truth = scenes.attributes[batch]
        image = self.model.encode_image(normalized(scenes.pixels[batch]), normalize=True)
        captions = [scenes.captions[i] for i in batch.tolist()]
        different = sorted(set(captions))
        text = self.model.encode_text(torch.cat([*self._prompts, tokenize(different)]), normalize=True)
        logits = self.model.logit_scale.exp().clamp(max=100) * image @ text.T
        *by_attribute, by_caption = logits.split([*map(len, self._prompts), len(different)], dim=1)
        # against captions of one attribute, no two of which are true of one image
        loss = sum(functional.cross_entropy(part, truth[:, i]) for i, part in enumerate(by_attribute))
        # against whole captions, both ways; images with the same caption share it
        which = torch.tensor([different.index(caption) for caption in captions])
        shares = functional.one_hot(which, len(different)).float()
        loss = loss + 0.5 * functional.cross_entropy(by_caption, which)
        loss = loss + 0.5 * functional.cross_entropy(by_caption.T, (shares / shares.sum(dim=0)).T)
        for number, head in enumerate(self._heads):
            loss = loss + functional.cross_entropy(head(HEAD_SCALE * image), truth[:, number])
        return loss + self._mask_loss(scenes.masks[batch])

    def _mask_loss(self, masks: torch.Tensor) -> torch.Tensor:
        side = SIZE // self._patch
        cut = masks.float().view(-1, side, self._patch, side, self._patch).transpose(2, 3)
        logits = self._mask_head(self._tokens)
        return functional.binary_cross_entropy_with_logits(logits, cut.reshape(logits.shape))


def zero_shot_accuracy(model: Any, scenes: Scenes) -> dict[str, float]:
    """Measure, for each attribute, the share of scenes whose value is that of the most similar prompt."""
    with torch.inference_mode():
        parts = scenes.pixels.split(250)
        image = torch.cat([model.encode_image(normalized(part), normalize=True) for part in parts])
        accuracy = {}
        for number, (name, tokens) in enumerate(zip(ATTRIBUTES, prompts(), strict=True)):
            guess = (image @ model.encode_text(tokens, normalize=True).T).argmax(dim=1)
            accuracy[name] = (guess == scenes.attributes[:, number]).float().mean().item()
    return accuracy
