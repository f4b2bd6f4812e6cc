"""The rule ``attack_images``: images of one class, and how many a CLIP takes for the other."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from purelens.data.images import BadImageError, open_source
from purelens.errors import UserError
from purelens.lens.attacks import KINDS, class_differences
from purelens.lens.effects import finite, load_clip
from purelens.networks.batching import choose_device
from purelens.networks.embedders import Embedder
from purelens.numerics.bootstrap import estimate
from purelens.progress import Progress
from purelens.storage.tables import read_table, write_table

logger = logging.getLogger("purelens")

IMAGES_AT_A_TIME = 16
GIVEN = "given"


def attack_images(
    prompts_csv: str,
    images_csv: str,
    embedder: Mapping[str, Any],
    wanted: Mapping[str, Mapping[str, Any]],
    pipeline: str | None = None,
    bootstrap: int = 2000,
    confidence: float = 0.95,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Score images that are given, and images drawn from the prompts where there is a local pipeline of diffusers.

    Parameters
    ----------
    prompts_csv
        Sentences of the rule ``attacks``.
    images_csv
        Share of the images taken for the other class, by attack and kind, with intervals.
    embedder
        Configuration of the CLIP.
    wanted
        Attacks by name; ``images`` is a folder of images.
    pipeline
        Folder of a text-to-image pipeline; the images are kept beside the table.
    bootstrap, confidence
        Of the intervals over images.
    device
        See `purelens.networks.batching`.
    seed
        Of the images that are drawn.

    Raises
    ------
    UserError
        If diffusers is not installed, or a pipeline or a folder cannot be read.
    """
    where = choose_device(device)
    clip = load_clip(embedder, where, seed)
    folders = {(name, GIVEN): settings["images"] for name, settings in wanted.items() if settings["images"]}
    if pipeline:
        folders |= draw(prompts_csv, Path(images_csv).with_suffix(""), pipeline, where, seed)
    towards = class_differences(embedder, wanted, seed)
    rows = []
    for (attack, kind), folder in folders.items():
        settings = wanted[attack]
        taken = np.concatenate([np.zeros(0, bool), *taken_for_the_other(clip, folder, towards[attack], where)])
        if not len(taken):
            raise UserError(f"lens.attacks.{attack}: none of the images of {folder} can be read")
        share = estimate(100.0 * taken, bootstrap, confidence, seed)
        rows.append(
            [attack, kind, settings["shown"], settings["taken_for"], len(taken), share.mean, share.low, share.high]
        )
        logger.info(
            "%s, %s: %.1f %% of %d images are taken for %s", attack, kind, share.mean, len(taken), settings["taken_for"]
        )
    columns = ["attack", "kind", "shown", "taken_for", "n_images", "share", "low", "high"]
    write_table(images_csv, pd.DataFrame(rows, columns=columns))


def taken_for_the_other(
    clip: Embedder, folder: str | Path, towards: np.ndarray, device: torch.device
) -> Iterator[np.ndarray]:
    """Which images of a folder (b,) are nearer to the other class, a few at a time; unreadable ones are left out."""
    source = open_source(folder)
    direction = torch.from_numpy(towards).to(device)
    with Progress(source.n_images, "images of attacks", "images") as progress:
        for start in range(0, source.n_images, IMAGES_AT_A_TIME):
            pixels = []
            for index in range(start, min(start + IMAGES_AT_A_TIME, source.n_images)):
                try:
                    pixels.append(clip.geometry.apply(source.load(index)))
                except BadImageError as error:
                    logger.warning("%s is left out: %s", source.paths[index], error)
                progress.advance(1)
            if pixels:
                embedding = finite(clip.embed(torch.from_numpy(np.stack(pixels)).to(device)))
                yield (embedding @ direction > 0).cpu().numpy()


def draw(prompts_csv: str, folder: Path, pipeline: str, device: torch.device, seed: int) -> dict[tuple[str, str], str]:
    """Draw an image of each prompt; returns the folder of each attack and kind."""
    try:
        from diffusers import AutoPipelineForText2Image
    except ImportError:
        raise UserError(
            "lens.pipeline: diffusers is not installed; pip install diffusers, or set pipeline: null"
        ) from None
    try:
        drawer = AutoPipelineForText2Image.from_pretrained(pipeline, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UserError(f"lens.pipeline: {pipeline} cannot be read: {' '.join(str(error).split())[:200]}") from None
    drawer.to(device)
    table = read_table(prompts_csv)
    folders = {}
    for (attack, kind), prompts in table.groupby(["attack", "kind"]):
        assert kind in KINDS
        place = folder / str(attack) / str(kind) / "drawn"  # class folders are what images are read from
        shutil.rmtree(place.parent, ignore_errors=True)
        place.mkdir(parents=True)
        for number, prompt in enumerate(prompts["prompt"]):
            generator = torch.Generator("cpu").manual_seed(seed + number)
            drawer(prompt=prompt, generator=generator).images[0].save(place / f"{number:03d}.png")
        folders[str(attack), str(kind)] = str(place.parent)
    return folders
