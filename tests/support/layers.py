"""Names and images of the small networks."""

import h5py
import torch

from helpers import ROOT
from purelens.networks.loading import load_network


def images_of(paths: dict[str, str]) -> torch.Tensor:
    network = load_network(*paths["model"])
    with h5py.File(paths["images_h5"]) as file:
        return network.normalize(torch.from_numpy(file["pixels"][...]))


DEAD, RARE = 3, 5


SCENE_CLIP = str(ROOT / "workflow_scripts/purelens/world/scene_clip.json")
