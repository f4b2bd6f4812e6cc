"""Tables of the user's: nothing in them is lost in silence."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from purelens.data.decoding import BadImageError, decode
from purelens.data.sources import open_source
from purelens.data.tables import read_rows
from purelens.data.vocabulary import read_imported, read_texts
from purelens.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,Labels\na,1\n", "column 'Labels', which is not known; rename it, to 'label'"),
        ("path,label\na,dog,x\n", "line 2 has 3 values, the header 2"),
        ("path,label\na,1\n\nb\n", "line 4 has 1 values"),
        ('path,label\n"a,1\nb,2\n', "unexpected end of data"),
        ("path,path\na,b\n", "'path' twice"),
        ("", "empty"),
    ],
)
def test_tables_that_would_lose_something(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((ValueError, csv.Error), match=message):
        read_rows(write(tmp_path / "t.csv", text), ["path"], ["label"])


def test_spaces_and_other_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 'id, Path ,LABEL\n7,a b.png , dog \n8," c.png",cat\n')
    rows = read_rows(table, ["path"], ["label", "caption"])
    assert rows == [(2, {"path": "a b.png ", "label": "dog"}), (3, {"path": " c.png", "label": "cat"})]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        ([" 10", " 2", " 2"], ["2", "10"], [1, 0, 0]),
        (["2.0", "10.0", ""], ["2.0", "10.0"], [0, 1, -1]),
        (["-1", "10", "2"], ["2", "10"], [-1, 1, 0]),
        (["dog", "dog ", "cat"], ["cat", "dog"], [1, 1, 0]),
        (["10", "2", "x"], ["10", "2", "x"], [0, 1, 2]),
    ],
)
def test_classes_of_a_table(tmp_path: Path, labels: list[str], classes: list[str], numbers: list[int]) -> None:
    rows = "".join(f"{n}.png,{label}\n" for n, label in enumerate(labels))
    source = open_source(write(tmp_path / "t.csv", f"path,label\n{rows}"))
    assert source.classes == classes
    assert source.labels.tolist() == numbers


def test_weights_and_prompts_are_not_lost(tmp_path: Path) -> None:
    imported = read_imported(str(write(tmp_path / "i.csv", "neuron,concept, Weight\n1,dog,-3\n1,cat,0.1\n")))
    assert imported[1].weights.tolist() == [-3, 0.1]
    for rows in ("neuron,concept,weights\n1,dog,2\n", "neuron,concept,weight\n1,dog,1,5\n"):
        with pytest.raises(UserError, match=r"i\.csv"):
            read_imported(str(write(tmp_path / "i.csv", rows)))
    assert read_texts(str(write(tmp_path / "t.csv", "concept, Prompt\ndog,a dog\n"))).prompts == ["a dog"]
    with pytest.raises(UserError, match="line 2 has 3 values"):
        read_texts(str(write(tmp_path / "t.csv", "concept,prompt\nhot, dog,a photo\n")))


def test_datasets_with_almost_the_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["pixels"], file["labels"], file["number"] = np.zeros((2, 8, 8, 3), "u1"), [0, 1], [3, 4]
    with pytest.raises(UserError, match="dataset 'labels', which is not known; rename it, to 'label'"):
        open_source(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("pixels", "mean"),
    [(np.float32(0.5), 128), (np.float32(200), 200), (np.uint16(32768), 128), (np.int32(65535), 255), (np.int32(9), 9)],
)
def test_ranges_of_pixels_that_are_known(tmp_path: Path, pixels: np.generic, mean: int) -> None:
    Image.fromarray(np.full((9, 9), pixels)).save(tmp_path / "x.tif")
    assert np.asarray(decode(tmp_path / "x.tif")).mean() == mean


@pytest.mark.parametrize(
    "pixels", [np.float32(1.02), np.float32(4095), np.float32(-0.1), np.int32(70000), np.int32(-5)]
)
def test_ranges_of_pixels_that_are_not_known(tmp_path: Path, pixels: np.generic) -> None:
    """One pixel beyond the range would make all others black, or be cut off."""
    image = np.full((9, 9), pixels)
    image[1:] = 1
    Image.fromarray(image).save(tmp_path / "x.tif")
    with pytest.raises(BadImageError, match="a range that is not known"):
        decode(tmp_path / "x.tif")
