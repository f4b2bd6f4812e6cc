"""Words that mislead, and what they must not be."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from purelens.errors import UserError
from purelens.lens.attack_images import attack_images
from purelens.lens.attacks import allowed_words, attacks
from purelens.numerics.bootstrap import Intervals
from purelens.storage.tables import read_table
from support.lens import SIZE


def test_attacks(made: dict[str, Any], clip: dict[str, Any], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "first": {"source_class": "circle", "target_class": "square", "avoid": ["night"], "images": None}
    }
    tables = (str(tmp_path / "attacks.csv"), str(tmp_path / "prompts.csv"))
    attacks([made["directions"]], [made["words"]], *tables, clip, settings)
    allowed, prompts = (read_table(table) for table in tables)
    assert not set(allowed.word) & {"a square", "night"}
    assert set(allowed.kind) <= {"lens", "random"}
    assert (allowed.score > 0).all()
    assert prompts.prompt.str.startswith("a photo of a circle with ").all()
    before = Path(tables[0]).read_bytes()
    attacks([made["directions"]], [made["words"]], *tables, clip, settings)
    assert Path(tables[0]).read_bytes() == before
    folder = tmp_path / "pictures" / "some"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.full((SIZE, SIZE, 3), 80 * number, dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "9.png").write_text("no image")
    settings["first"]["images"] = str(tmp_path / "pictures")
    attack_images(tables[1], f"{tmp_path}/images.csv", clip, settings, intervals=Intervals(bootstrap=20))
    row = read_table(f"{tmp_path}/images.csv").iloc[0]
    assert (row.attack, row.kind, row.n_images) == ("first", "given", 3)
    for picture in folder.glob("*.png"):
        picture.write_text("no image")
    with pytest.raises(UserError, match="lens.attacks.first: none of the images"):
        attack_images(tables[1], f"{tmp_path}/images.csv", clip, settings, intervals=Intervals(bootstrap=20))
    settings["first"]["images"] = None
    with pytest.raises(UserError, match="diffusers is not installed"):
        attack_images(tables[1], f"{tmp_path}/images.csv", clip, settings, Intervals(), pipeline=str(tmp_path))


def test_words_of_an_attack_do_not_name_what_it_aims_at(
    made: dict[str, Any], clip: dict[str, Any], tmp_path: Path
) -> None:
    """Even where the name of the source class contains it; and one attack does not change another."""
    settings: dict[str, Any] = {
        "a": {"source_class": "red circle", "target_class": "circle", "avoid": [], "images": None}
    }
    tables = (str(tmp_path / "attacks.csv"), str(tmp_path / "prompts.csv"))
    attacks([made["directions"]], [made["words"]], *tables, clip, settings)
    before = [read_table(table) for table in tables]
    assert len(before[0])
    assert not before[0].word.str.contains("circle").any()
    more = {"first": {"source_class": "night", "target_class": "star", "avoid": [], "images": None}, **settings}
    attacks([made["directions"]], [made["words"]], *tables, clip, more)
    for old, table in zip(before, tables, strict=True):
        new = read_table(table)
        pd.testing.assert_frame_equal(new[new.attack == "a"].reset_index(drop=True), old)


def test_random_neurons_are_others(
    made: dict[str, Any], clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Asked()
    monkeypatch.setattr("purelens.lens.attacks.N_NEURONS", 16)
    monkeypatch.setattr("purelens.lens.attacks._words_of", lambda _: (weights, ["a", "b"]))
    settings: dict[str, Any] = {"a": {"source_class": "circle", "target_class": "star", "avoid": [], "images": None}}
    attacks([made["directions"]], [made["words"]], f"{tmp_path}/a.csv", f"{tmp_path}/p.csv", clip, settings)
    pushing, random = weights.neurons
    assert sorted([*pushing, *random]) == list(range(32))


class Asked:
    """Weights, all 0, that record for which neurons they were asked."""

    def __init__(self) -> None:
        self.neurons: list[list[int]] = []

    def __getitem__(self, neurons: np.ndarray) -> np.ndarray:
        self.neurons.append(neurons.tolist())
        return np.zeros((len(neurons), 2))


def test_words_of_an_attack() -> None:
    names = ["Heart shape", "red", "blue", "green", "hearty"]
    allowed = allowed_words(names, np.array([9.0, 2.0, 3.0, -1.0, 1.0]), ["heart", ""])
    assert allowed == [("blue", 3.0), ("red", 2.0), ("hearty", 1.0)]
