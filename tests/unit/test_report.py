"""What the explorer shows: which references, which numbers, and what is said of a layer."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from studies import MadeUpLayer, write_images

from purelens.circuits.projections import projections, spread_out
from purelens.report.data import read_data
from purelens.report.explorer import take_best
from purelens.report.gallery import write_gallery
from purelens.report.neurons import Neuron, shown
from purelens.report.overview import benchmarks, found, ratios, route_names
from purelens.report.pictures import strip
from purelens.storage.artifacts import strings

DEAD = 3


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeUpLayer, Path]:
    """A made-up layer, and the folder of its pages."""
    root = tmp_path_factory.mktemp("pages")
    pixels = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype="u1")
    write_images(root / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(40)], [])
    made = MadeUpLayer(root / "layer", root / "images.h5", "layer2", "layer1", n_neurons=5, dead=(DEAD,))
    made.write(40, 32)
    return made, Path(made.pages(root / "report", "photos", "net", n_references=6, patch_size=16, image_size=24))


def neuron(label: list[int]) -> Neuron:
    n = len(label)
    none = np.zeros((n, 0))
    points, labels = np.zeros((n, 2)), np.array(label)[None, None]
    return Neuron(0, np.arange(n), np.zeros(n), none, none, points, labels, np.zeros((1, 1)), {})


@pytest.mark.parametrize(
    ("label", "n", "wanted"),
    [
        ([0, 0, 0, 0, 1, 1], 4, [0, 1, 2, 4]),  # the best two, then the best that is left of each
        ([0, 0, 0, 0, 0, 1], 4, [0, 1, 2, 5]),
        ([0, 0], 6, [0, 1]),
        ([0, 0, 0, 0], 3, [0, 1, 2]),
        ([-1, -1, -1], 2, [0, 1]),
        ([], 4, []),
    ],
)
def test_every_virtual_neuron_is_shown(label: list[int], n: int, wanted: list[int]) -> None:
    assert shown(neuron(label), np.array(label, dtype=int), n).tolist() == wanted


def test_no_virtual_neuron_of_any_clustering_is_without_a_picture() -> None:
    labels = np.stack([[0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 2, 0], [-1, 0, 0, 0, 0, 0]])[None]
    one = dataclasses.replace(neuron([0] * 6), label=labels)
    assert shown(one, labels[0, 0], 2).tolist() == [0, 1, 4, 5]


def test_circuits_on_a_page_are_means_of_relevances(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    with h5py.File(made.path("virtual_neurons")) as clusters, h5py.File(made.path("relevances")) as file:
        methods = strings(clusters["method"])
        for number in (0, 4):
            data = read_data(folder / f"neurons/{number}.js")
            for name in ("pure:layer1", "activations", "embedder:clip"):
                shown_now = data["clusterings"][name]["2"]
                label = clusters["label"][methods.index(name), 0, number]
                assert shown_now["label"] == label.tolist()
                for part, circuit in zip(shown_now["parts"], shown_now["circuits"], strict=True):
                    mean = file["relevance/layer1"][number][label == part].mean(axis=0)
                    order = np.argsort(-np.abs(mean))[:8]
                    assert [lower for lower, _ in circuit] == order.tolist()
                    np.testing.assert_allclose([value for _, value in circuit], mean[order], rtol=1e-3)


def test_a_dead_neuron_has_a_page_without_pictures(layer: tuple[MadeUpLayer, Path]) -> None:
    _, folder = layer
    data = read_data(folder / f"neurons/{DEAD}.js")
    assert data["images"] == data["shown"] == []
    assert not (folder / f"neurons/{DEAD}.jpg").exists()
    line = read_data(folder / "layer.js")["lines"][DEAD]
    assert line == {"n": 0, "classes": [], "concepts": [], "words": []}
    assert any("1 dead neurons" in text for text in read_data(folder / "layer.js")["facts"]["warnings"])


def test_pictures_are_those_of_the_boxes(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    data = read_data(folder / "neurons/1.js")
    with h5py.File(made.images_h5) as images, h5py.File(made.path("patches")) as patches:
        ids = [data["images"][item["index"]] for item in data["shown"]]
        pixels = np.stack([images["pixels"][i] for i in ids])
        boxes = np.stack([patches["box"][1, item["index"]] for item in data["shown"]])
    wanted = strip(pixels, boxes, 16)
    top, left, bottom, right = boxes[2]
    alone = Image.fromarray(pixels[2][top:bottom, left:right]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(wanted)[:, 32:48], np.asarray(alone))
    with Image.open(folder / "neurons/1.jpg") as stored:  # a JPEG keeps the colors of noise badly
        gray = [np.asarray(picture.convert("L"), dtype=float).ravel() for picture in (stored, wanted)]
    assert np.corrcoef(*gray)[0, 1] > 0.9
    assert {path.name for path in (folder / "images").iterdir()} >= {f"{i}.jpg" for i in ids}


def test_the_finding_is_that_of_the_tables(layer: tuple[MadeUpLayer, Path]) -> None:
    made, folder = layer
    whole = read_data(folder / "layer.js")
    table = pd.read_csv(made.folder / "distances.csv")
    mine = table[(table.method == "pure:layer1") & (table.n_clusters == 2)]
    said = found(whole["facts"], whole["table"])
    assert said["n"] == mine.gap.notna().sum() == 4
    assert said["apart"] == (mine.gap > 0).sum()
    assert said["gap"] == pytest.approx(mine.gap.mean() / mine.intra.mean(), rel=1e-3)
    assert whole["table"]["separation"]["2"][DEAD] is None


def test_one_file_takes_the_best_neurons(layer: tuple[MadeUpLayer, Path]) -> None:
    _, folder = layer
    whole = read_data(folder / "layer.js")
    everything = "".join(take_best([whole], [str(folder)], 10**9))
    assert everything.count("/neurons/") == 5 + 4  # data of all, pictures of those that are not dead
    gaps = whole["table"]["separation"]["2"]
    best = max((row for row in range(5) if gaps[row] is not None), key=lambda row: gaps[row])
    size = sum(map(len, take_best([whole], [str(folder)], 10**9)[:-1]))
    some = take_best([whole], [str(folder)], size // 2)
    assert f"/neurons/{best}" in some[0]
    assert '"left_out":' in some[-1]
    assert 0 < sum(".jpg" in script and "/neurons/" in script for script in some) < 4
    assert not any("/images/" in script for script in take_best([whole], [str(folder)], 10**9, whole_images=False))
    (none,) = take_best([whole], [str(folder)], 1)
    assert '"left_out":5' in none


def test_links_name_the_dataset_only_where_there_are_several() -> None:
    one = {"dataset": "a", "model": "m", "layer": "l"}
    assert route_names([one, one | {"layer": "k"}]) == ["m/l", "m/k"]
    assert route_names([one, one | {"dataset": "b"}]) == ["a/m/l", "b/m/l"]


def test_benchmarks_are_added_up(tmp_path: Path) -> None:
    for name, row in {"dataset/a.tsv": "2.5\t100", "dataset/b.tsv": "1.5\t300", "explorer.tsv": "9\tNA"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"s\tmax_rss\n{row}\n")
    assert benchmarks(tmp_path) == [
        {"rule": "explorer", "jobs": 1, "seconds": 9.0, "megabytes": 0.0},
        {"rule": "dataset", "jobs": 2, "seconds": 4.0, "megabytes": 300.0},
    ]
    assert benchmarks(tmp_path / "missing") == []
    assert ratios(tmp_path / "missing.csv") == []


def test_a_gallery_escapes_its_title(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "neuron_00001_umap.png")
    write_gallery(tmp_path / "g.html", "<script>", [tmp_path / "neuron_00001_umap.png"])
    text = (tmp_path / "g.html").read_text()
    assert "<h1>&lt;script&gt;</h1>" in text
    assert "neuron 00001 umap" in text
    write_gallery(tmp_path / "empty.html", "none", [])
    assert "No neuron was drawn." in (tmp_path / "empty.html").read_text()


def test_places_in_the_plane(layer: tuple[MadeUpLayer, Path], tmp_path: Path) -> None:
    made, _ = layer
    again = str(tmp_path / "p.h5")
    projections(made.path("relevances"), again, "layer1", neighbors=made.n_references)
    with (
        h5py.File(made.path("projections")) as one,
        h5py.File(again) as other,
        h5py.File(made.path("relevances")) as file,
    ):
        place = other["position"][...]
        assert np.isnan(place[file["reference_id"][...] < 0]).all()
        assert np.isfinite(place[file["reference_id"][...] >= 0]).all()
        assert one["position"][...].tobytes() == place.tobytes()


def test_thumbnails_do_not_cover_each_other() -> None:
    points = np.random.default_rng(0).random((12, 2)) * 0.05
    places = spread_out(points, 0.1)
    apart = np.abs(places[:, None] - places[None]).max(axis=2) + np.eye(12)
    assert apart.min() > 0.08


def test_words_are_those_of_the_artifact(tmp_path: Path) -> None:
    pixels = np.zeros((40, 32, 32, 3), dtype="u1")
    write_images(tmp_path / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(40)], [])
    made = MadeUpLayer(tmp_path / "layer", tmp_path / "images.h5", "layer2", "layer1", words=("null", "nan", "a"))
    made.write(40, 32)
    folder = Path(made.pages(tmp_path / "report", "photos", "net", n_references=6, patch_size=16, image_size=24))
    with h5py.File(made.path("explanations")) as file:
        names = [["null", "nan", "a"][i] for i in file["concept_number"][0, 0]]
        weights = file["weight"][0, 0]
    (first, *_), layer = read_data(folder / "neurons/0.js")["words"], read_data(folder / "layer.js")
    assert first["method"] == "le:mine"
    assert first["part"] is None
    assert [name for name, _ in first["words"]] == names == layer["lines"][0]["words"]
    assert [weight for _, weight in first["words"]] == pytest.approx(weights, rel=1e-3)
    le, dissect = layer["facts"]["words"]
    assert le["correlation"] == {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 6}
    assert le["ablation"] == {"mean": 0.2, "low": None, "high": None, "n": 1}
    assert "ablation" not in dissect
    assert layer["facts"]["virtual_words"][0]["children_correlation"] == 0.7
