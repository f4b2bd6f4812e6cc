"""Images are generated from prompts and scored."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from purelens.lens.attack_images import attack_images
from purelens.numerics.bootstrap import Intervals
from purelens.storage.provenance import Execution
from purelens.storage.tables import read_table


def test_prompts_are_drawn_and_scored(clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Drawer:
        def to(self, device: object) -> None:
            assert str(device) == "cpu"

        def __call__(self, prompt: str, generator: torch.Generator) -> Any:
            gray = int(torch.randint(256, (1,), generator=generator))
            return SimpleNamespace(images=[Image.new("RGB", (20, 20), (gray, len(prompt) % 256, 0))])

    pipeline = SimpleNamespace(from_pretrained=lambda *_, **__: Drawer())
    monkeypatch.setitem(sys.modules, "diffusers", SimpleNamespace(AutoPipelineForText2Image=pipeline))
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("attack,kind,prompt\n007,lens,a\n007,lens,b\n007,random,c\n")
    settings: dict[str, Any] = {
        "007": {"source_class": "circle", "target_class": "square", "avoid": [], "images": None}
    }
    for _ in range(2):
        attack_images(
            str(prompts),
            f"{tmp_path}/images.csv",
            clip,
            settings,
            Intervals(bootstrap=20),
            str(tmp_path),
            execution=Execution(device="cpu"),
        )
        table = read_table(f"{tmp_path}/images.csv")
        assert table[["attack", "kind", "n_images"]].values.tolist() == [["007", "lens", 2], ["007", "random", 1]]
        prompts.write_text("attack,kind,prompt\n007,lens,a\n007,lens,b\n007,random,c\n")
