"""A small random CLIP, drawn images, and random vision towers."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from purelens.data.splits import TEST, split_images
from purelens.networks.imports import open_clip
from purelens.storage.artifacts import create

SHAPES: dict[str, dict[str, Any]] = {
    "two blocks": {"width": 16, "layers": 2, "heads": 2, "image_size": 16, "patch_size": 8, "output_dim": 8},
    "four blocks": {"width": 24, "layers": 4, "heads": 3, "image_size": 16, "patch_size": 4, "output_dim": 10},
    "scaled": {
        "width": 16,
        "layers": 3,
        "heads": 4,
        "image_size": 12,
        "patch_size": 4,
        "output_dim": 20,
        "ls_init_value": 0.7,
    },
}


def random_tower(name: str, dtype: torch.dtype = torch.float64) -> Any:
    """A vision transformer whose weights, biases and norms are all random."""
    torch.manual_seed(0)
    visual = open_clip().transformer.VisionTransformer(mlp_ratio=2.0, **SHAPES[name])
    with torch.no_grad():
        for key, parameter in visual.named_parameters():
            spread = 0.3 if parameter.ndim > 1 else 0.2
            parameter.copy_(torch.randn_like(parameter) * spread + (1 if "ln" in key and "weight" in key else 0))
    return visual.eval().requires_grad_(False).to(dtype)


def images_for(visual: Any, n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, *visual.image_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(
        visual.proj.dtype
    )


N_IMAGES, SIZE, BLOCK = 60, 16, 0


CLIP: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": SIZE, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8, "mlp_ratio": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


POOL = ["a circle", "a square", "", "red", "red", "null", "nan", "blue sky", "night"]


CLASSES, TEMPLATES = ["circle", "square", "star"], ["a {}", "one {}"]


def draw_images(path: Path, **extra: Any) -> str:
    rng = np.random.default_rng(0)
    values = {
        "pixels": rng.integers(0, 256, (N_IMAGES, SIZE, SIZE, 3), dtype=np.uint8),
        "label": np.arange(N_IMAGES, dtype="i4") % 3,
        "path": [f"{n}.png" for n in range(N_IMAGES)],
        "source_index": np.arange(N_IMAGES),
        "class_name": CLASSES,
        "rejected_path": [],
        "rejected_reason": [],
        "mask": (rng.random((N_IMAGES, SIZE, SIZE)) < 0.4).astype(np.uint8),
        **extra,
    }
    with create(path, "dataset") as out:
        out.coordinate("image", N_IMAGES)
        out.coordinate("class", len(values["class_name"]))
        out.coordinate("rejected", 0)
        out.coordinate("row", SIZE)
        out.coordinate("column", SIZE)
        out.coordinate("color", 3)
        for name, data in values.items():
            out.variable(name, data=data)
    return str(path)


def effects_of(path: str) -> np.ndarray:
    """All effects (N, n, d), as one table."""
    with h5py.File(path) as file:
        scaled = file["head_scalar"][...] * file["scale"][...][:, None, None]
        return np.einsum("ijn,jnd->ind", scaled, file["basis"][...]) + file["shared"][...][:, None]


def fitting_images() -> np.ndarray:
    return np.flatnonzero(split_images(N_IMAGES, 0) != TEST)


def matlab_file(path: Path, images: list[np.ndarray], masks: list[np.ndarray]) -> str:
    with h5py.File(path, "w") as file:
        for name, arrays in (("img", images), ("gt", masks)):
            refs = file.create_dataset(f"value/{name}", (len(arrays), 1), dtype=h5py.ref_dtype)
            for number, array in enumerate(arrays):
                stored = file.create_dataset(f"data/{name}{number}", data=array.T)
                refs[number, 0] = stored.ref
                if name == "gt":
                    cell = file.create_dataset(f"cell/{number}", (1, 1), dtype=h5py.ref_dtype)
                    cell[0, 0] = stored.ref
                    refs[number, 0] = cell.ref
    return str(path)
