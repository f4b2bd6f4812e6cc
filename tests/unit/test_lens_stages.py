"""The stages of the second-order lens, on a small random CLIP and drawn images."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score

from helpers import data_of
from purelens.bench.reference import lens as definition
from purelens.data.images import Geometry
from purelens.data.splits import TEST, split_images
from purelens.errors import UserError
from purelens.lens.attack_images import attack_images
from purelens.lens.attacks import allowed_words, attacks
from purelens.lens.classes import classes, read_classes
from purelens.lens.clip_shape import clip_shape
from purelens.lens.directions import directions, principal
from purelens.lens.discovery import discovery
from purelens.lens.effects import effects, load_clip
from purelens.lens.heatmaps import heatmaps
from purelens.lens.masks import fitted, open_masks
from purelens.lens.replacements import REPLACEMENTS, replacements
from purelens.lens.segmentation import Segmenter, segmentation
from purelens.lens.segmentation_scores import COUNTS, average_precision, counts, stretched, summary
from purelens.lens.texts import texts
from purelens.lens.vision_tower import check_activations
from purelens.lens.words import words
from purelens.networks.embedders import build_clip, encode_texts
from purelens.networks.imports import open_clip
from purelens.storage.artifacts import create
from purelens.storage.gather import gather
from purelens.storage.provenance import Provenance
from purelens.storage.tables import read_table

N_IMAGES, SIZE, BLOCK = 60, 16, 0
CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": SIZE, "patch_size": 4, "width": 16, "layers": 3, "head_width": 8, "mlp_ratio": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
POOL = ["a circle", "a square", "", "red", "red", "null", "nan", "blue sky", "night"]
CLASSES, TEMPLATES = ["circle", "square", "star"], ["a {}", "one {}"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("clip") / "small_lens_clip.json"
    path.write_text(json.dumps(CLIP))
    return {"source": "open_clip", "architecture": str(path), "weights": "random", "output": "pooled"}


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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, clip: dict[str, Any]) -> dict[str, str]:
    """All artifacts of one block."""
    folder = tmp_path_factory.mktemp("lens")
    (folder / "pool.txt").write_text("\n".join(POOL))
    paths = {name: str(folder / f"{name}.h5") for name in ("effects", "directions", "texts", "classes", "words")}
    paths |= {"images": draw_images(folder / "images.h5"), "pool": str(folder / "pool.txt")}
    effects(paths["images"], paths["effects"], clip, BLOCK)
    directions(paths["effects"], paths["directions"], top_images=20, split_below=0.9, n_parts=(2, 3))
    texts(paths["texts"], clip, paths["pool"])
    classes(paths["images"], paths["classes"], clip, TEMPLATES)
    words(paths["directions"], paths["texts"], paths["words"], n_words=4)
    return paths


def effects_of(path: str) -> np.ndarray:
    """All effects (N, n, d), as one table."""
    with h5py.File(path) as file:
        scaled = file["head_scalar"][...] * file["scale"][...][:, None, None]
        return np.einsum("ijn,jnd->ind", scaled, file["basis"][...]) + file["shared"][...][:, None]


def fitting_images() -> np.ndarray:
    return np.flatnonzero(split_images(N_IMAGES, 0) != TEST)


def test_effects_are_those_of_the_definition(made: dict[str, str], clip: dict[str, Any]) -> None:
    torch.manual_seed(0)
    visual = build_clip(clip["architecture"], "random").visual.eval()
    preprocess = open_clip().get_model_preprocess_cfg(visual)
    with h5py.File(made["images"]) as file:
        pixels = torch.from_numpy(file["pixels"][:3]).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(preprocess[key])[:, None, None] for key in ("mean", "std"))
    with torch.inference_mode():
        slow = torch.stack([definition.second_order(visual, image, BLOCK) for image in (pixels - mean) / std])
    found = effects_of(made["effects"])[:3]
    assert np.linalg.norm(found - slow.numpy()) / np.linalg.norm(slow.numpy()) < 1e-5
    with h5py.File(made["effects"]) as file:
        error = file["completeness"][...]
        assert np.isfinite(error).tolist() == [n % 64 == 0 for n in range(N_IMAGES)]
        assert np.nanmax(error) < 1e-5
        np.testing.assert_allclose(np.linalg.norm(file["embedding"][...], axis=1), 100, rtol=1e-5)


def test_parts_of_the_images_are_the_whole(made: dict[str, str], clip: dict[str, Any], tmp_path: Path) -> None:
    shards = []
    for number in (1, 2, 3):
        shards.append(f"{tmp_path}/{number}.h5")
        how = Provenance(how={"shard": f"{number}/3"})
        effects(made["images"], shards[-1], clip, BLOCK, shard=f"{number}/3", provenance=how)
    gather(shards, f"{tmp_path}/all.h5")
    assert data_of(f"{tmp_path}/all.h5") == data_of(made["effects"])


def test_directions_are_singular_vectors_of_the_largest_effects(made: dict[str, str]) -> None:
    table = effects_of(made["effects"])[fitting_images()].astype(np.float64)
    with h5py.File(made["directions"]) as file:
        for neuron in (0, 7, 31):
            centered = table[:, neuron] - table[:, neuron].mean(axis=0)
            length = np.linalg.norm(centered, axis=1)
            order = np.argsort(-length, kind="stable")[:20]
            _, values, right = np.linalg.svd(centered[order], full_matrices=False)
            assert file["image_id"][neuron].tolist() == fitting_images()[order].tolist()
            direction = file["direction"][neuron]
            assert abs(float(direction @ right[0])) > 0.9999
            assert (centered[order] @ direction > 0).sum() >= 10
            np.testing.assert_allclose(file["explained"][neuron], (values**2 / (values**2).sum())[:8], atol=1e-4)
            n_significant = round(0.02 * len(centered))
            assert file["threshold"][neuron] == pytest.approx(
                np.sort(length)[-n_significant - 1 :][:2].mean(), rel=1e-4
            )
            np.testing.assert_allclose(file["projection"][neuron], centered[order] @ direction, rtol=1e-3, atol=1e-4)


def test_neurons_that_need_several_directions_are_split(made: dict[str, str]) -> None:
    with h5py.File(made["directions"]) as file:
        part, silhouette = file["part"][...], file["silhouette"][...]
        share = file["part_explained"][...]
        several = file["explained"][:, 0] < 0.9
        assert several.any()
        assert ((part.max(axis=1) > 0) == several).all()
        assert np.isfinite(silhouette[several]).all()
        assert np.isnan(silhouette[~several]).all()
        for neuron in np.flatnonzero(several):
            n_parts = part[neuron].max() + 1
            assert np.isfinite(share[neuron, :n_parts]).all()
            assert np.isnan(share[neuron, n_parts:]).all()
        whole = ~several
        np.testing.assert_array_equal(file["part_direction"][...][whole, 0], file["direction"][...][whole])


def test_principal_component_of_some_vectors_only() -> None:
    vectors = np.zeros((2, 4, 3), dtype=np.float32)
    vectors[0, :, 0] = [1, 2, -3, 4]
    vectors[0, 3, 1] = 100
    direction, shares = principal(vectors, np.array([[True, True, True, False], [True] * 4]))
    np.testing.assert_allclose(direction, [[1, 0, 0], [0, 0, 0]])
    assert shares[0, 0] == pytest.approx(1)
    assert np.isnan(shares[1, 0])


def test_too_few_images_for_the_directions(made: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"directions of 100 images \(lens.top_images\) are wanted, but there are only 48"
    ):
        directions(made["effects"], f"{tmp_path}/d.h5")
    assert list(tmp_path.iterdir()) == []


def test_texts_are_told_once_and_classes_are_means(made: dict[str, str], clip: dict[str, Any]) -> None:
    with h5py.File(made["texts"]) as file:
        assert [name.decode() for name in file["text"][...]] == [
            "a circle",
            "a square",
            "red",
            "null",
            "nan",
            "blue sky",
            "night",
        ]
        np.testing.assert_allclose(np.linalg.norm(file["text_embedding"][...], axis=1), 1, rtol=1e-5)
    names, found = read_classes(made["classes"])
    assert names == CLASSES
    sentences = [template.format(name) for name in CLASSES for template in TEMPLATES]
    vectors = encode_texts(clip["architecture"], "random", sentences)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    means = vectors.reshape(len(CLASSES), len(TEMPLATES), -1).mean(axis=1)
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_words_rebuild_directions(made: dict[str, str]) -> None:
    with h5py.File(made["words"]) as file, h5py.File(made["texts"]) as known, h5py.File(made["directions"]) as found:
        pool = known["text_embedding"][...]
        atoms = pool - pool.mean(axis=0)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        word, weight = file["word"][...], file["weight"][...]
        assert word.shape == (32, 4)
        assert (np.diff(np.abs(weight), axis=1) <= 0).all()
        rebuilt = np.einsum("nm,nmd->nd", weight, atoms[word])
        np.testing.assert_allclose(file["rebuilt"][...], rebuilt, atol=1e-5)
        direction = found["direction"][...]
        cosine = (rebuilt * direction).sum(axis=1) / np.linalg.norm(rebuilt, axis=1)
        np.testing.assert_allclose(file["likeness"][...], cosine, atol=1e-5)
        split = found["part"][...].max(axis=1) > 0
        np.testing.assert_array_equal(file["part_word"][...][~split, 0], word[~split])
        assert (file["part_word"][...][~split, 1:] == -1).all()


def test_a_pool_smaller_than_the_words_wanted(made: dict[str, str], tmp_path: Path) -> None:
    words(made["directions"], made["texts"], f"{tmp_path}/words.h5", n_words=50)
    with h5py.File(f"{tmp_path}/words.h5") as file:
        assert file["word"].shape[1] == 7


def test_a_pool_of_one_text(made: dict[str, str], clip: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("red\n\nred\n")
    texts(f"{tmp_path}/texts.h5", clip, f"{tmp_path}/one.txt")
    with pytest.raises(UserError, match="has 1 text; texts are told apart by their differences"):
        words(made["directions"], f"{tmp_path}/texts.h5", f"{tmp_path}/words.h5")


def test_replacements_are_those_of_whole_tables(made: dict[str, str], tmp_path: Path) -> None:
    paths = [made[name] for name in ("images", "effects", "directions", "classes", "words")]
    replacements(*paths, f"{tmp_path}/r.csv", bootstrap=50)
    table = read_table(f"{tmp_path}/r.csv").set_index("replacement")
    assert list(table.index) == list(REPLACEMENTS)
    test = np.setdiff1d(np.arange(N_IMAGES), fitting_images())
    with (
        h5py.File(made["directions"]) as found,
        h5py.File(made["words"]) as described,
        h5py.File(made["effects"]) as file,
    ):
        centered = effects_of(made["effects"])[test] - found["mean"][...]
        large = (np.linalg.norm(centered, axis=2) >= found["threshold"][...])[..., None]
        rebuilt = described["rebuilt"][...]
        z = file["embedding"][...][test].astype(np.float64)
        unit = rebuilt / np.linalg.norm(rebuilt, axis=1, keepdims=True)

        def along(axis: np.ndarray) -> np.ndarray:
            return np.einsum("in,nd->id", np.einsum("ind,nd->in", centered, axis), axis)

        embeddings = {
            "none": z,
            "all": z - centered.sum(axis=1),
            "large": z - (centered * large).sum(axis=1),
            "small": z - (centered * ~large).sum(axis=1),
            "direction": z - centered.sum(axis=1) + along(found["direction"][...]),
            "words": z - centered.sum(axis=1) + along(unit),
            "words_released": z - centered.sum(axis=1) + along(rebuilt),
        }
    classifier = torch.from_numpy(read_classes(made["classes"])[1]).double()
    for name, embedding in embeddings.items():
        expected = definition.zero_shot(torch.from_numpy(embedding), classifier, torch.from_numpy(test % 3))
        assert table.accuracy[name] == pytest.approx(100 * expected), name
        assert table.change[name] == pytest.approx(table.accuracy[name] - table.accuracy["none"])


def test_images_without_classes_have_no_accuracy(made: dict[str, str], tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images.h5", label=np.full(N_IMAGES, -1, dtype="i4"))
    replacements(images, made["effects"], made["directions"], made["classes"], made["words"], f"{tmp_path}/r.csv")
    assert len(read_table(f"{tmp_path}/r.csv")) == 0


def test_concepts_of_images(made: dict[str, str], tmp_path: Path) -> None:
    discovery([made["effects"]] * 2, [made["directions"]] * 2, [made["words"]] * 2, f"{tmp_path}/d.h5", [0, 1])
    with h5py.File(made["directions"]) as found, h5py.File(made["words"]) as described:
        centered = effects_of(made["effects"]) - found["mean"][...]
        active = np.linalg.norm(centered, axis=2) >= found["threshold"][...]
        moved = np.einsum("ind,nd->in", centered, found["direction"][...]) * active
        weights = np.zeros((32, 7))
        np.put_along_axis(weights, described["word"][...], described["weight"][...], axis=1)
    score = 2 * moved @ weights
    with h5py.File(f"{tmp_path}/d.h5") as file:
        assert file["n_active"][...].tolist() == (2 * active.sum(axis=1)).tolist()
        for image in range(N_IMAGES):
            word = file["word"][image]
            expected = [place for place in np.argsort(-score[image], kind="stable") if score[image, place] > 1e-6]
            assert [place for place in word if place >= 0] == expected
            if active[image].any():
                block, neuron = file["neuron"][image, 0]
                assert (block, neuron) == (0, np.argmax(np.abs(moved[image])))
            else:
                assert (word == -1).all()
                assert (file["neuron"][image] == -1).all()
        assert (file["n_active"][...] == 0).any()


def test_counts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    heat, mask = stretched(rng.random((3, 5, 4))), (rng.random((3, 5, 4)) < 0.3).astype(np.uint8)
    found = counts(heat, mask)
    for image in range(3):
        expected = dict.fromkeys(COUNTS, 0)
        for row in range(5):
            for column in range(4):
                here, true = heat[image, row, column] > 0.5, mask[image, row, column] == 1
                expected["correct"] += here == true
                expected["labeled"] += 1
                expected["object_both"] += here and true
                expected["object_either"] += here or true
                expected["background_both"] += not here and not true
                expected["background_either"] += not here or not true
        assert {name: int(values[image]) for name, values in found.items()} == expected
    flat = np.concatenate([mask[0].ravel() == 0, mask[0].ravel() == 1])
    by_hand = average_precision_score(flat, np.concatenate([1 - heat[0].ravel(), heat[0].ravel()]))
    assert average_precision(heat[0], mask[0]) == pytest.approx(by_hand)
    scores = summary({**found, "average_precision": np.full(3, 0.25)}, 100, 0.95, 0)
    assert scores["pixel_accuracy"][0] == pytest.approx(100 * found["correct"].sum() / 60)
    both = [found[f"{p}_both"].sum() / found[f"{p}_either"].sum() for p in ("object", "background")]
    assert scores["mean_iou"][0] == pytest.approx(50 * sum(both))
    assert scores["mean_average_precision"] == pytest.approx((25, 25, 25))


def test_a_constant_map_finds_nothing() -> None:
    assert (stretched(np.full((1, 4, 4), 3.0)) == 0).all()


def test_masks_lie_on_their_images() -> None:
    mask = np.zeros((40, 90), dtype=np.uint8)
    mask[10:30, 50:70] = 1
    image = Image.fromarray(np.repeat(255 * mask[..., None], 3, axis=2))
    pixels, seen = fitted((image, mask), Geometry(20, 20, "bicubic", 1))
    assert seen.shape == (20, 20)
    assert ((pixels[..., 0] > 128) == (seen > 0)).mean() > 0.97


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


def test_the_format_of_imagenet_segmentation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), rng.integers(0, 256, (9, 4, 3), dtype=np.uint8)]
    masks = [rng.integers(0, 2, image.shape[:2], dtype=np.uint8) for image in images]
    path = matlab_file(tmp_path / "gtsegs.mat", images, masks)
    with open_masks("unused", path) as scenes:
        assert scenes is not None
        assert len(scenes) == 2
        for number in range(2):
            image, mask = scenes.pair(number)
            np.testing.assert_array_equal(np.asarray(image), images[number])
            np.testing.assert_array_equal(mask, masks[number])
    (tmp_path / "other.mat").write_bytes(b"MATLAB 5.0")
    with (
        pytest.raises(UserError, match="not in ImageNet-Segmentation's format"),
        open_masks("unused", f"{tmp_path}/other.mat"),
    ):
        pass


def test_segmentation_looks_where_the_neurons_are_active(
    made: dict[str, str], clip: dict[str, Any], tmp_path: Path
) -> None:
    table, scores = tmp_path / "s.csv", tmp_path / "summary.csv"
    segmentation(
        made["images"], [made["directions"]], made["classes"], str(table), str(scores), clip, [BLOCK], 5, bootstrap=20
    )
    found = pd.read_csv(table)
    assert len(found) == 3 * N_IMAGES
    assert (found.labeled == SIZE**2).all()
    torch.manual_seed(0)
    visual = build_clip(clip["architecture"], "random").visual.eval()
    cfg = open_clip().get_model_preprocess_cfg(visual)
    with (
        h5py.File(made["images"]) as file,
        h5py.File(made["directions"]) as directed,
    ):
        mean, std = (torch.tensor(cfg[key])[:, None, None] for key in ("mean", "std"))
        image = (torch.from_numpy(file["pixels"][4]).permute(2, 0, 1) / 255 - mean) / std
        mask, direction = file["mask"][4], directed["direction"][...]
    _, of_classes = read_classes(made["classes"])
    with torch.inference_mode():
        trace = definition.Trace(visual, image)
    place = np.argmax(of_classes @ trace.embedding.numpy())
    hidden = trace.hidden[BLOCK][1:].numpy()
    most = np.argsort(-np.abs(direction @ of_classes[place]), kind="stable")[:5]
    nearest = np.argsort(-(direction @ (of_classes[place] - of_classes.mean(axis=0))), kind="stable")[:5]
    standard = (hidden - hidden.mean(axis=0)) / hidden.std(axis=0)
    nearest = [neuron for neuron in nearest if direction[neuron] @ (of_classes[place] - of_classes.mean(axis=0)) > 0]
    for method, heat in (
        ("towards", standard[:, nearest].clip(min=0).mean(axis=1)),
        ("published", hidden[:, most].mean(axis=1)),
    ):
        grid = torch.from_numpy(heat.reshape(1, 1, 4, 4)).float()
        large = torch.nn.functional.interpolate(grid, size=(SIZE, SIZE), mode="bilinear")
        expected = counts(stretched(large[0].numpy()), mask[None])
        row = found[(found.method == method) & (found.image == 4)].iloc[0]
        assert {name: int(row[name]) for name in COUNTS} == {name: int(values[0]) for name, values in expected.items()}
    assert set(pd.read_csv(scores).method) == {"towards", "published", "center"}


def test_images_without_masks_are_not_segmented(made: dict[str, str], clip: dict[str, Any], tmp_path: Path) -> None:
    path = draw_images(tmp_path / "images.h5")
    with h5py.File(path, "r+") as file:
        del file["mask"]
    paths = [str(tmp_path / name) for name in ("s.csv", "summary.csv")]
    segmentation(path, [made["directions"]], made["classes"], *paths, clip, [BLOCK], 5)
    assert [len(read_table(name)) for name in paths] == [0, 0]


def test_attacks(made: dict[str, str], clip: dict[str, Any], tmp_path: Path) -> None:
    wanted = {"first": {"shown": "circle", "taken_for": "square", "avoid": ["night"], "images": None}}
    tables = [str(tmp_path / name) for name in ("attacks.csv", "prompts.csv")]
    attacks([made["directions"]], [made["words"]], *tables, clip, wanted)
    found, prompts = (read_table(table) for table in tables)
    assert not set(found.word) & {"a square", "night"}
    assert set(found.kind) <= {"lens", "random"}
    assert (found.score > 0).all()
    assert prompts.prompt.str.startswith("a photo of a circle with ").all()
    before = Path(tables[0]).read_bytes()
    attacks([made["directions"]], [made["words"]], *tables, clip, wanted)
    assert Path(tables[0]).read_bytes() == before
    folder = tmp_path / "pictures" / "some"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.full((SIZE, SIZE, 3), 80 * number, dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "9.png").write_text("no image")
    wanted["first"]["images"] = str(tmp_path / "pictures")
    attack_images(tables[1], f"{tmp_path}/images.csv", clip, wanted, bootstrap=20)
    row = read_table(f"{tmp_path}/images.csv").iloc[0]
    assert (row.attack, row.kind, row.n_images) == ("first", "given", 3)
    for picture in folder.glob("*.png"):
        picture.write_text("no image")
    with pytest.raises(UserError, match="lens.attacks.first: none of the images"):
        attack_images(tables[1], f"{tmp_path}/images.csv", clip, wanted, bootstrap=20)
    wanted["first"]["images"] = None
    with pytest.raises(UserError, match="diffusers is not installed"):
        attack_images(tables[1], f"{tmp_path}/images.csv", clip, wanted, pipeline=str(tmp_path))


def test_words_of_an_attack_do_not_name_what_it_aims_at(
    made: dict[str, str], clip: dict[str, Any], tmp_path: Path
) -> None:
    """Also where the name of the class that is shown holds it; and one attack does not change another."""
    wanted = {"a": {"shown": "red circle", "taken_for": "circle", "avoid": [], "images": None}}
    tables = [str(tmp_path / name) for name in ("attacks.csv", "prompts.csv")]
    attacks([made["directions"]], [made["words"]], *tables, clip, wanted)
    before = [read_table(table) for table in tables]
    assert len(before[0])
    assert not before[0].word.str.contains("circle").any()
    more = {"first": {"shown": "night", "taken_for": "star", "avoid": [], "images": None}, **wanted}
    attacks([made["directions"]], [made["words"]], *tables, clip, more)
    for old, table in zip(before, tables, strict=True):
        new = read_table(table)
        pd.testing.assert_frame_equal(new[new.attack == "a"].reset_index(drop=True), old)


def test_random_neurons_are_others(
    made: dict[str, str], clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Asked()
    monkeypatch.setattr("purelens.lens.attacks.N_NEURONS", 16)
    monkeypatch.setattr("purelens.lens.attacks._words_of", lambda _: (weights, ["a", "b"]))
    wanted = {"a": {"shown": "circle", "taken_for": "star", "avoid": [], "images": None}}
    attacks([made["directions"]], [made["words"]], f"{tmp_path}/a.csv", f"{tmp_path}/p.csv", clip, wanted)
    pushing, random = weights.neurons
    assert sorted([*pushing, *random]) == list(range(32))


class Asked:
    """Weights, all 0, that remember of which neurons they were wanted."""

    def __init__(self) -> None:
        self.neurons: list[list[int]] = []

    def __getitem__(self, neurons: np.ndarray) -> np.ndarray:
        self.neurons.append(neurons.tolist())
        return np.zeros((len(neurons), 2))


def test_words_of_an_attack() -> None:
    names = ["Heart shape", "red", "blue", "green", "hearty"]
    found = allowed_words(names, np.array([9.0, 2.0, 3.0, -1.0, 1.0]), ["heart", ""])
    assert found == [("blue", 3.0), ("red", 2.0), ("hearty", 1.0)]


@pytest.mark.parametrize(
    ("architecture", "weights", "message"),
    [
        ("RN50", "random", "RN50: images go through a ResNet, not through open_clip's vision transformer"),
        ("ViT-B-16-SigLIP", "random", "images go through vit_base_patch16_siglip_224"),
        ("coca_ViT-B-32", "random", "pooled, not read from the class token"),
        ("ViT-B-32", "openai", "were trained with QuickGELU, which the model does not use; take ViT-B-32-quickgelu"),
        ("ViT-L-14-quickgelu", "laion2b_s32b_b82k", "has no pretrained tag"),
    ],
)
def test_models_that_the_lens_cannot_read(architecture: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        clip_shape(architecture, weights)


def test_shapes_of_published_models() -> None:
    small = clip_shape("ViT-B-32-quickgelu", "openai")
    assert (small.layers, small.heads, small.neurons, small.components) == (12, 12, 3072, 512)
    large = clip_shape("ViT-L-14", "laion2b_s32b_b82k")
    assert (large.layers, large.heads, large.neurons, large.components) == (24, 16, 4096, 768)


def test_towers_with_different_activations(clip: dict[str, Any]) -> None:
    model = build_clip(clip["architecture"], "random")
    check_activations(model, None)
    with pytest.raises(UserError, match="the weights were trained with QuickGELU, the model uses GELU"):
        check_activations(model, True)
    for block in model.transformer.resblocks:
        block.mlp.gelu = open_clip().transformer.QuickGELU()
    with pytest.raises(UserError, match="one tower of this CLIP uses QuickGELU, the other GELU"):
        check_activations(model, None)


def test_effects_that_are_not_complete_stop_the_run(
    made: dict[str, str], clip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purelens.lens.effects.completeness", lambda *_: torch.full((N_IMAGES,), 0.5))
    with pytest.raises(UserError, match="on image 0 the effects of all sources are 0.5 away from the direct effect"):
        effects(made["images"], f"{tmp_path}/e.h5", clip, BLOCK, batch_size=N_IMAGES)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite(made: dict[str, str], clip: dict[str, Any], tmp_path: Path) -> None:
    model = build_clip(clip["architecture"], "random")
    with torch.no_grad():
        model.visual.proj[0, 0] = torch.nan
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="the CLIP is NaN or infinite on image 0; check its weights"):
        effects(made["images"], f"{tmp_path}/e.h5", {**clip, "weights": f"{tmp_path}/w.safetensors"}, BLOCK)


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
    wanted = {"007": {"shown": "circle", "taken_for": "square", "avoid": [], "images": None}}
    for _ in range(2):
        attack_images(str(prompts), f"{tmp_path}/images.csv", clip, wanted, str(tmp_path), bootstrap=20, device="cpu")
        table = read_table(f"{tmp_path}/images.csv")
        assert table[["attack", "kind", "n_images"]].values.tolist() == [["007", "lens", 2], ["007", "random", 1]]
        prompts.write_text("attack,kind,prompt\n007,lens,a\n007,lens,b\n007,random,c\n")


def test_images_without_any_class(clip: dict[str, Any], made: dict[str, str], tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images.h5", label=np.full(N_IMAGES, -1, dtype="i4"), class_name=[])
    classes(images, f"{tmp_path}/classes.h5", clip)
    paths = [str(tmp_path / name) for name in ("s.csv", "summary.csv")]
    segmentation(images, [made["directions"]], f"{tmp_path}/classes.h5", *paths, clip, [BLOCK], 5)
    heatmaps(images, [made["directions"]], f"{tmp_path}/classes.h5", f"{tmp_path}/h.h5", clip, [BLOCK], 5)
    with h5py.File(f"{tmp_path}/h.h5") as file:
        assert (file["class"][...] == -1).all()
    inputs = (images, made["effects"], made["directions"], f"{tmp_path}/classes.h5", made["words"])
    replacements(*inputs, f"{tmp_path}/r.csv")
    assert [len(read_table(path)) for path in (*paths, f"{tmp_path}/r.csv")] == [0, 0, 0]


def test_texts_that_are_not_finite(made: dict[str, str], clip: dict[str, Any], tmp_path: Path) -> None:
    model = build_clip(clip["architecture"], "random")
    with torch.no_grad():
        model.text_projection[0, 0] = torch.nan
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="NaN or infinite embeddings of texts"):
        texts(f"{tmp_path}/t.h5", {**clip, "weights": f"{tmp_path}/w.safetensors"}, made["pool"])


def test_equal_images_have_no_effects(clip: dict[str, Any], tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images.h5", pixels=np.full((N_IMAGES, SIZE, SIZE, 3), 90, dtype=np.uint8))
    effects(images, f"{tmp_path}/e.h5", clip, BLOCK)
    directions(f"{tmp_path}/e.h5", f"{tmp_path}/d.h5", top_images=20, significant=0.99)
    with h5py.File(f"{tmp_path}/d.h5") as file:
        assert (file["direction"][...] == 0).all()
        assert np.isnan(file["explained"][...]).all()
        assert np.isinf(file["threshold"][...]).all()


def test_neurons_that_write_nothing_have_no_direction(clip: dict[str, Any], tmp_path: Path) -> None:
    model = build_clip(clip["architecture"], "random")
    with torch.no_grad():
        model.visual.transformer.resblocks[BLOCK].mlp.c_proj.weight[:, [2, 5]] = 0
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    images = draw_images(tmp_path / "images.h5")
    effects(images, f"{tmp_path}/e.h5", {**clip, "weights": f"{tmp_path}/w.safetensors"}, BLOCK)
    directions(f"{tmp_path}/e.h5", f"{tmp_path}/d.h5", top_images=20)
    every = effects_of(f"{tmp_path}/e.h5")
    with h5py.File(f"{tmp_path}/d.h5") as file:
        idle = (file["direction"][...] == 0).all(axis=1)
        assert np.flatnonzero(idle).tolist() == [2, 5]
        assert (np.isinf(file["threshold"][...]) == idle).all()
        np.testing.assert_allclose(file["mean"][...], every[fitting_images()].mean(axis=0), atol=1e-5)


def test_patches_that_do_not_cover_the_image(tmp_path: Path) -> None:
    """A patch is drawn where it lies; the edge that no patch sees gets what is nearest."""
    path = tmp_path / "uncovered_lens_clip.json"
    path.write_text(json.dumps({**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": 19}}))
    clip = load_clip({"source": "open_clip", "architecture": str(path), "weights": "random"}, torch.device("cpu"))
    segmenter = Segmenter(clip, [BLOCK], np.eye(32, 12, dtype="f4"), np.eye(3, 12, dtype="f4"), 4, torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 19, 19, 3), dtype=np.uint8)
    found, maps = segmenter(pixels)
    again, grids = segmenter.grids(pixels)
    assert found.tolist() == again.tolist()
    for method, grid in grids.items():
        large = torch.nn.functional.interpolate(torch.from_numpy(grid)[:, None], size=(16, 16), mode="bilinear")
        expected = stretched(np.pad(large[:, 0].numpy(), ((0, 0), (0, 3), (0, 3)), mode="edge"))
        np.testing.assert_allclose(maps[method], expected, atol=1e-5)


def test_a_file_of_masks_that_do_not_fit(tmp_path: Path) -> None:
    image, mask = np.zeros((5, 7, 3), dtype=np.uint8), np.zeros((7, 5), dtype=np.uint8)
    for wrong in (([image], [mask]), ([image[..., 0]], [mask]), ([image.astype(float)], [mask.T])):
        path = matlab_file(tmp_path / "wrong.mat", *wrong)
        with pytest.raises(UserError, match="pair 0 is"), open_masks("unused", path) as scenes:
            assert scenes is not None
            scenes.pair(0)


def test_images_that_are_no_squares(tmp_path: Path) -> None:
    path = tmp_path / "oblong_clip.json"
    path.write_text(json.dumps({**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": [16, 8]}}))
    with pytest.raises(UserError, match="its images are no squares"):
        clip_shape(str(path), "random")
