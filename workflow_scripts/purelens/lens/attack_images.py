"""The rule ``attack_images``: count how many images of one class a CLIP takes for another."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from purelens.data.decoding import BadImageError
from purelens.data.sources import open_source
from purelens.errors import UserError
from purelens.lens.attacks import class_differences
from purelens.lens.clip import finite, load_clip
from purelens.lens.methods import ATTACK_KINDS
from purelens.networks.batching import choose_device
from purelens.networks.embedders import Embedder
from purelens.numerics.bootstrap import Intervals, estimate
from purelens.progress import Progress
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution
from purelens.storage.tables import read_table, write_table

logger = logging.getLogger("purelens")

IMAGES_AT_A_TIME = 16
GIVEN = "given"
COLUMNS = ("attack", "kind", "source_class", "target_class", "n_images", "share", "low", "high")


def attack_images(
    prompts_csv: str,
    images_csv: str,
    embedder: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
    intervals: Intervals,
    pipeline: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
) -> None:
    """Score images of the user's, and images drawn from the prompts where there is a local pipeline of diffusers.

    Parameters
    ----------
    prompts_csv
        Prompts of the rule ``attacks``.
    images_csv
        Share of the images that are taken for the target class, by attack and kind, with intervals.
    embedder
        Configuration of the CLIP.
    settings
        Configuration of each attack, by its name; ``images`` is a folder of images.
    intervals
        Settings of the bootstrap over images; its seed is also that of the images that are drawn.
    pipeline
        Folder of a text-to-image pipeline; its images are kept beside the table.
    execution
        Device.

    Raises
    ------
    UserError
        If diffusers is not installed, or a pipeline or a folder cannot be read.
    """
    device = choose_device(execution.device)
    clip = load_clip(embedder, device, intervals.seed)
    folders = {(name, GIVEN): of_attack["images"] for name, of_attack in settings.items() if of_attack["images"]}
    if pipeline:
        folders |= draw(prompts_csv, Path(images_csv).with_suffix(""), pipeline, device, intervals.seed)
    differences = class_differences(embedder, settings, intervals.seed)
    rows = []
    for (attack, kind), folder in folders.items():
        source, target = settings[attack]["source_class"], settings[attack]["target_class"]
        taken = np.concatenate([np.zeros(0, bool), *taken_for_target(clip, folder, differences[attack])])
        if not len(taken):
            raise UserError(f"lens.attacks.{attack}: none of the images of {folder} can be read")
        share = estimate(100.0 * taken, intervals)
        rows.append([attack, kind, source, target, len(taken), share.mean, share.low, share.high])
        logger.info("%s, %s: %.1f %% of %d images are taken for %s", attack, kind, share.mean, len(taken), target)
    write_table(images_csv, pd.DataFrame(rows, columns=list(COLUMNS)))


def taken_for_target(clip: Embedder, folder: str | Path, difference: np.ndarray) -> Iterator[np.ndarray]:
    """Find which images of a folder are nearer to the target class.

    Parameters
    ----------
    clip
        The CLIP.
    folder
        The images; unreadable ones are left out.
    difference
        (d,) embedding of the target class minus that of the source class.

    Yields
    ------
    numpy.ndarray
        (b,) bool, a few images at a time.
    """
    source = open_source(folder)
    direction = torch.from_numpy(difference).to(clip.network.device)
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
                embedding = finite(clip.embed(np.stack(pixels)))
                yield (embedding @ direction > 0).cpu().numpy()


def draw(prompts_csv: str, folder: Path, pipeline: str, device: torch.device, seed: int) -> dict[tuple[str, str], str]:
    """Draw an image of each prompt.

    Parameters
    ----------
    prompts_csv
        Prompts of the rule ``attacks``.
    folder
        Where the images go.
    pipeline
        Folder of a text-to-image pipeline of diffusers.
    device
        Where to compute.
    seed
        Seed of the first image of each attack and kind; the others follow.

    Returns
    -------
    dict
        Folder of the images of each attack and kind.

    Raises
    ------
    UserError
        If diffusers is not installed, or the pipeline cannot be read.
    """
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
        assert kind in ATTACK_KINDS
        images = folder / str(attack) / str(kind) / "drawn"  # images are read from class folders
        shutil.rmtree(images.parent, ignore_errors=True)
        images.mkdir(parents=True)
        for number, prompt in enumerate(prompts["prompt"]):
            generator = torch.Generator("cpu").manual_seed(seed + number)
            drawer(prompt=prompt, generator=generator).images[0].save(images / f"{number:03d}.png")
        folders[str(attack), str(kind)] = str(images.parent)
    return folders
