"""The artifacts of one block of a small CLIP."""

import json
from typing import Any

import pytest

from purelens.lens.classes import classes
from purelens.lens.directions import directions
from purelens.lens.effects import effects
from purelens.lens.texts import texts
from purelens.lens.words import words
from support.lens import BLOCK, CLIP, POOL, TEMPLATES, draw_images


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("clip") / "small_lens_clip.json"
    path.write_text(json.dumps(CLIP))
    return {"source": "open_clip", "architecture": str(path), "weights": "random", "output": "pooled"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, clip: dict[str, Any]) -> dict[str, Any]:
    """All artifacts of one block."""
    folder = tmp_path_factory.mktemp("lens")
    (folder / "pool.txt").write_text("\n".join(POOL))
    paths = {name: str(folder / f"{name}.h5") for name in ("effects", "directions", "texts", "classes", "words")}
    paths |= {"images": draw_images(folder / "images.h5"), "pool": str(folder / "pool.txt")}
    effects(paths["images"], paths["effects"], clip, BLOCK)
    directions(paths["effects"], paths["directions"], top_images=20, min_explained_variance=0.9, n_directions=(2, 3))
    texts(paths["texts"], clip, paths["pool"])
    classes(paths["images"], paths["classes"], clip, TEMPLATES)
    words(paths["directions"], paths["texts"], paths["words"], n_words=4)
    return paths
