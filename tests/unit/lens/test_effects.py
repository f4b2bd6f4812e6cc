"""The stage effects beside the definition, its shards, and CLIPs that are not what they seem."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers import data_of
from purelens.bench.reference import lens as definition
from purelens.errors import UserError
from purelens.lens.effects import effects
from purelens.networks.embedders import build_clip
from purelens.networks.imports import open_clip
from purelens.storage.gather import gather
from purelens.storage.provenance import Execution, Provenance
from support.lens import BLOCK, N_IMAGES, effects_of


def test_effects_are_those_of_the_definition(made: dict[str, Any], clip: dict[str, Any]) -> None:
    torch.manual_seed(0)
    visual = build_clip(clip["architecture"], "random").visual.eval()
    preprocess = open_clip().get_model_preprocess_cfg(visual)
    with h5py.File(made["images"]) as file:
        pixels = torch.from_numpy(file["pixels"][:3]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(preprocess[key])[:, None, None] for key in ("mean", "std"))
    with torch.inference_mode():
        slow = torch.stack([definition.second_order(visual, image, BLOCK) for image in (pixels - mean) / std])
    computed = effects_of(made["effects"])[:3]
    assert np.linalg.norm(computed - slow.numpy()) / np.linalg.norm(slow.numpy()) < 1e-5
    with h5py.File(made["effects"]) as file:
        error = file["completeness"][...]
        assert np.isfinite(error).tolist() == [n % 64 == 0 for n in range(N_IMAGES)]
        assert np.nanmax(error) < 1e-5
        np.testing.assert_allclose(np.linalg.norm(file["embedding"][...], axis=1), 100, rtol=1e-5)


def test_parts_of_the_images_are_the_whole(made: dict[str, Any], clip: dict[str, Any], tmp_path: Path) -> None:
    shards = []
    for number in (1, 2, 3):
        shards.append(f"{tmp_path}/{number}.h5")
        how = Provenance(execution={"shard": f"{number}/3"})
        effects(made["images"], shards[-1], clip, BLOCK, execution=Execution(shard=f"{number}/3", provenance=how))
    gather(shards, f"{tmp_path}/all.h5")
    assert data_of(f"{tmp_path}/all.h5") == data_of(made["effects"])


def test_effects_that_are_not_complete_stop_the_run(
    made: dict[str, Any], clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purelens.lens.effects.completeness", lambda *_: torch.full((N_IMAGES,), 0.5))
    with pytest.raises(UserError, match="on image 0 the effects of all sources are 0.5 away from the direct effect"):
        effects(made["images"], f"{tmp_path}/e.h5", clip, BLOCK, execution=Execution(batch_size=N_IMAGES))
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite(made: dict[str, Any], clip: dict[str, Any], tmp_path: Path) -> None:
    model = build_clip(clip["architecture"], "random")
    with torch.no_grad():
        model.visual.proj[0, 0] = torch.nan
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="the CLIP is NaN or infinite on image 0; check its weights"):
        effects(made["images"], f"{tmp_path}/e.h5", {**clip, "weights": f"{tmp_path}/w.safetensors"}, BLOCK)
