"""Images are decoded once; bad ones are listed with a reason."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from purelens.data.dataset import dataset, open_images
from purelens.data.sources import open_source
from purelens.errors import UserError
from purelens.storage.checksums import recorded_content
from purelens.storage.provenance import Execution
from support.images import build


def test_bad_images_are_listed_and_left_out(messy: Path, tmp_path: Path) -> None:
    built = build(messy, tmp_path)
    assert built["pixels"].shape == (9, 16, 16, 3)
    assert built["class_name"] == ["<script>", "große Bäume 🌳", 'it\'s a "class"']
    assert built["label"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert built["path"][3] == "große Bäume 🌳/photo 0 'x' ü.png"
    assert built["rejected_path"] == ["<script>/notes.txt", "<script>/broken.jpg", "<script>/dot.png"]
    reasons = ["not the name of an image file", "not an image", "1x1 pixels, a side is shorter than 8"]
    assert built["rejected_reason"] == reasons
    assert built["source_index"].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_bad_image_can_stop_the_run(messy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"broken\.jpg: not an image \(on_bad_image: error\)"):
        build(messy, tmp_path, on_bad_image="error")
    assert list(tmp_path.glob("*.h5")) == []
    assert list(tmp_path.glob(".*")) == []


def test_no_good_image(messy: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none of the 11 images .* is good; the first, <script>/broken.jpg: not an image"
    ):
        build(messy, tmp_path, min_side=100)


def test_images_are_decoded_once(messy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    original = Path.read_bytes

    def counted(path: Path) -> bytes:
        opened.append(path)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    build(messy, tmp_path)
    assert len(opened) == len(set(opened)) == 11


def test_stack_of_images(tmp_path: Path) -> None:
    stack = tmp_path / "stack.h5"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    with h5py.File(stack, "w") as file:
        file["images"] = pixels
        file["label"] = [0, 1, 1, 0, -1]
        file["class_name"] = ["no", "yes"]
        file["mask"] = np.ones((5, 16, 16), dtype=np.uint8)
    built = build(stack, tmp_path)
    np.testing.assert_array_equal(built["pixels"], pixels)
    assert built["label"].tolist() == [0, 1, 1, 0, -1]
    assert built["class_name"] == ["no", "yes"]
    assert built["mask"].shape == (5, 16, 16)


def test_masks_go_with_their_images(tmp_path: Path) -> None:
    """Resized and cropped alike; 255 is 1, which other programs write."""
    mask = np.zeros((2, 40, 64), dtype=np.uint8)
    mask[0, :, 20:50], mask[1, 10:30] = 255, 255
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["images"] = np.repeat(mask[..., None], 3, axis=3)
        file["mask"] = mask
    built = build(tmp_path / "stack.h5", tmp_path)
    assert set(np.unique(built["mask"])) == {0, 1}
    np.testing.assert_allclose(built["mask"], built["pixels"][..., 0] / 255, atol=0.5)
    for strange in (7, 1):  # 1 beside 255 is a class beside another
        with h5py.File(tmp_path / "stack.h5", "a") as file:
            file["mask"][1, 0, 0] = strange
        with pytest.raises(UserError, match=f"mask must be of 0 and 1, or 0 and 255; it has 0, {strange}, 255"):
            build(tmp_path / "stack.h5", tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "no dataset 'pixels' or 'images'"),
        ({"pixels": np.zeros((2, 8, 8), np.uint8)}, r"must be \(N, H, W, 3\) uint8"),
        ({"pixels": np.zeros((2, 8, 8, 3), np.float32)}, r"must be \(N, H, W, 3\) uint8"),
        ({"pixels": np.zeros((2, 8, 8, 3), np.uint8), "label": [1]}, "label has 1 rows for 2 images"),
        ({"pixels": np.zeros((2, 8, 8, 3), np.uint8), "label": ["a", "b"]}, "label must be whole numbers"),
        ({"pixels": np.zeros((2, 8, 8, 3), np.uint8), "label": 3}, "label must have 1 dimensions"),
        ({"pixels": np.zeros((2, 8, 8, 3), np.uint8), "concept": [[1], [0]]}, "concept_label must name the 1 columns"),
        ({"pixels/x": np.zeros(3)}, "no dataset 'pixels' or 'images'"),
        ({"pixels": np.zeros((2, 8, 8, 3), np.uint8), "label": [0, 5], "class_name": ["a"]}, "label goes beyond"),
    ],
)
def test_bad_stacks(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    stack = tmp_path / "stack.h5"
    with h5py.File(stack, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    with pytest.raises(UserError, match=message):
        open_source(stack)


def test_images_are_taken_in_any_order(image_folder: Path, tmp_path: Path) -> None:
    dataset(str(image_folder), str(tmp_path / "i.h5"), size=32)
    with open_images(tmp_path / "i.h5") as images:
        taken = images.take(np.array([5, 2, 5, 39]))
        np.testing.assert_array_equal(taken[0], taken[2])
        np.testing.assert_array_equal(taken[3], images.file["pixels"][39])


def test_same_images_same_bytes(image_folder: Path, tmp_path: Path) -> None:
    contents = []
    for threads in (1, 4):
        dataset(str(image_folder), str(tmp_path / "i.h5"), size=32, execution=Execution(threads=threads))
        with h5py.File(tmp_path / "i.h5") as file:
            contents.append(recorded_content(file))
    assert contents[0] == contents[1]
