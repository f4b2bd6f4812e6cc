"""Network Dissection beside its definition, neuron by neuron and concept by concept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from purelens.circuits.activations import activations
from purelens.data.dataset import dataset, open_images
from purelens.data.splits import TEST, split_images
from purelens.errors import UserError
from purelens.explanations.network_dissection import in_rows, network_dissection
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import LayerView, Segment
from purelens.storage.provenance import Execution
from purelens.storage.reading import strings


def masked_images(images_h5: str, folder: Path) -> str:
    """Give the images random concepts and masks."""
    rng = np.random.default_rng(0)
    with h5py.File(images_h5) as file, h5py.File(folder / "source.h5", "w") as out:
        out["pixels"] = file["pixels"][...]
        out["concept"] = rng.integers(0, 2, (40, 3), dtype=np.uint8)
        out["concept_label"] = ["a", "b", "c"]
        out["mask"] = rng.integers(0, 2, (40, 32, 32), dtype=np.uint8)
    dataset(str(folder / "source.h5"), str(folder / "masked.h5"), 32)
    return str(folder / "masked.h5")


def test_network_dissection_is_the_definition(
    small: dict[str, Any], run_stage: Callable[..., str], tmp_path: Path
) -> None:
    """Quantiles and overlaps of whole maps, neuron by neuron and concept by concept."""
    references = run_stage(activations, layer=LayerView("layer3"), n_references=5)
    masked = masked_images(small["images_h5"], tmp_path)
    network_dissection(
        masked,
        small["model"],
        references,
        str(tmp_path / "iou.h5"),
        LayerView("layer3"),
        execution=Execution(batch_size=7),
    )
    network = load_network(*small["model"])
    chosen = np.flatnonzero(split_images(40, 0) != TEST)
    with (
        open_images(masked) as images,
        Segment(network.module, "layer3") as segment,
        h5py.File(tmp_path / "iou.h5") as scores,
    ):
        maps = segment.forward(network.prepare(images.take(chosen)))[0].detach()
        concept, mask = images.file["concept"][...][chosen], images.file["mask"][...][chosen].astype(bool)
        large = torch.nn.functional.interpolate(maps, size=(32, 32), mode="bilinear", align_corners=False).numpy()
        for neuron in (0, 13, 50):
            values = maps[:, neuron].numpy()
            edge = np.quantile(values, 1 - 0.005)
            bins = values.max() / 4096
            for number in range(3):
                where = mask & (concept[:, number] > 0)[:, None, None]
                bounds = []
                for threshold in (edge - 2 * bins, edge + 2 * bins):
                    active = large[:, neuron] >= threshold
                    bounds.append((active & where).sum() / (active | where).sum())
                assert min(bounds) - 2e-3 <= scores["iou"][neuron, number] <= max(bounds) + 2e-3
        assert strings(scores["concept_label"]) == ["a", "b", "c"]
        assert scores["iou"][...].max() > 0.001


def test_images_without_masks_are_not_dissected(
    small: dict[str, Any], run_stage: Callable[..., str], tmp_path: Path
) -> None:
    references = run_stage(activations, layer=LayerView("layer3"), n_references=5)
    network_dissection(small["images_h5"], small["model"], references, str(tmp_path / "iou.h5"), LayerView("layer3"))
    with h5py.File(tmp_path / "iou.h5") as scores:
        assert scores["iou"].shape == (64, 0)


@pytest.mark.parametrize(
    ("shape", "channels"), [((2, 3, 4, 4), "auto"), ((2, 4, 4, 3), "last"), ((2, 16, 3), "auto"), ((2, 17, 3), "auto")]
)
def test_maps_of_all_layouts_lie_on_the_image(shape: tuple[int, ...], channels: str) -> None:
    expected = torch.arange(2 * 3 * 16).reshape(2, 3, 4, 4).float()
    if shape == (2, 3, 4, 4):
        output = expected
    elif channels == "last":
        output = expected.permute(0, 2, 3, 1)
    else:
        output = expected.flatten(2).transpose(1, 2)
        if shape[1] == 17:
            output = torch.cat([torch.full((2, 1, 3), -1.0), output], dim=1)
    torch.testing.assert_close(in_rows(LayerView("layer", channels), output), expected)
    with pytest.raises(UserError, match="the 15 tokens of layer 'layer' are no square"):
        in_rows(LayerView("layer"), torch.zeros(2, 15, 3))
