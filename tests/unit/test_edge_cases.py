"""Dead neurons, few references, NaN, memory: each stage alone."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from helpers import CIFAR_RESNET
from purelens.circuits.activations import activations
from purelens.circuits.alignment import alignment
from purelens.circuits.embeddings import embeddings
from purelens.circuits.interpretability import interpretability
from purelens.circuits.patches import patches
from purelens.circuits.projections import projections
from purelens.circuits.relevances import relevances
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.errors import UserError
from purelens.figures.neuron_figures import neuron_figures
from purelens.networks.batching import choose_device, in_batches
from purelens.networks.loading import read_checkpoint
from purelens.networks.model import model
from purelens.storage.artifacts import strings
from purelens.storage.tables import read_table

DEAD, RARE = 3, 5


def largest_activations(paths: dict[str, str], out: str) -> np.ndarray:
    activations(**paths, activations_h5=out, layer="layer3", n_references=2)
    with h5py.File(out) as file:
        return file["max"][...]


@pytest.fixture(scope="module")
def wounded(small: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The small network with a neuron that is never active, and one that is active on few images."""
    folder = tmp_path_factory.mktemp("wounded")
    state = read_checkpoint(small["weights"])
    last = "layer3.1"
    state[f"{last}.bn2.weight"][DEAD] = 0
    state[f"{last}.bn2.bias"][DEAD] = -100
    highest = np.sort(largest_activations(small, f"{folder}/a.h5")[:, RARE])[::-1]
    state[f"{last}.bn2.bias"][RARE] -= (highest[6] + highest[7]) / 2
    checkpoint = folder / "wounded.pth"
    torch.save(state, checkpoint)
    paths = {"images_h5": small["images_h5"], "weights": f"{folder}/m.safetensors", "card": f"{folder}/m.json"}
    options = {"depth": 14, "num_classes": 2}
    model(paths["images_h5"], str(checkpoint), paths["weights"], paths["card"], CIFAR_RESNET, options)
    return paths


@pytest.fixture(scope="module")
def study(wounded: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All artifacts of eight neurons of the wounded network."""
    folder = tmp_path_factory.mktemp("study")
    names = ("activations", "relevances", "patches", "embeddings", "virtual_neurons")
    out = {name: f"{folder}/{name}.h5" for name in names}
    common = {"layer": "layer3", "neurons": ["0-7"]}
    activations(**wounded, activations_h5=out["activations"], layer="layer3", n_references=12)
    stage = {**wounded, "activations_h5": out["activations"]}
    relevances(**stage, relevances_h5=out["relevances"], lower_layers=["layer3.0", "layer2"], **common)
    patches(**stage, patches_h5=out["patches"], **common)
    settings = {
        "source": "network", "architecture": CIFAR_RESNET, "options": {"depth": 14, "num_classes": 2},
        "weights": wounded["weights"], "layer": "layer2", "size": 32,
    }  # fmt: skip
    embeddings(wounded["images_h5"], out["patches"], out["embeddings"], settings)
    virtual_neurons(
        out["relevances"], out["activations"], [out["embeddings"]], out["virtual_neurons"], ["net"], [2, 3, 4]
    )
    out["projections"] = f"{folder}/projections.h5"
    projections(out["relevances"], out["projections"], "layer3.0")
    out["interpretability"], out["summary"] = f"{folder}/i.csv", f"{folder}/is.csv"
    out["alignment"], out["alignment_summary"] = f"{folder}/a.csv", f"{folder}/as.csv"
    interpretability(
        out["relevances"], out["virtual_neurons"], [out["embeddings"]], out["interpretability"], out["summary"],
        ["net"], bootstrap=200,
    )  # fmt: skip
    alignment(
        out["relevances"], out["activations"], [out["embeddings"]], out["alignment"], out["alignment_summary"],
        ["net"], bootstrap=200, n_groups=3,
    )  # fmt: skip
    return out | wounded


def test_dead_and_rare_neurons_have_missing_references(study: dict[str, str]) -> None:
    with h5py.File(study["activations"]) as file:
        found = (file["reference_id"][...] >= 0).sum(axis=1)
        assert found[DEAD] == 0
        assert found[RARE] == 7
        assert found[0] == 12
        assert (file["reference_value"][DEAD] == 0).all()
        assert (file["reference_position"][DEAD] == -1).all()


def test_missing_references_are_in_no_result(study: dict[str, str]) -> None:
    with h5py.File(study["relevances"]) as file:
        missing = file["reference_id"][...] < 0
        for lower in ("layer3.0", "layer2"):
            values = file[f"relevance/{lower}"][...]
            assert (values[missing] == 0).all()
            np.testing.assert_allclose(np.abs(values[~missing]).sum(axis=-1), 1, rtol=1e-4)
    with h5py.File(study["patches"]) as file:
        assert (file["box"][...][missing] == -1).all()
        assert (file["heat"][...][missing] == 0).all()
        assert np.isnan(file["conserved"][...][missing]).all()
        assert np.isfinite(file["conserved"][...][~missing]).all()
    with h5py.File(study["virtual_neurons"]) as file:
        labels = file["label"][...]
        assert (labels[:, :, missing] == -1).all()
        assert (labels[:, :, DEAD] == -1).all()
        assert (labels[:, :, 0] >= 0).all()
        assert np.isnan(file["inertia"][:, :, DEAD]).all()


def test_circuits_are_mean_relevances(study: dict[str, str]) -> None:
    with h5py.File(study["virtual_neurons"]) as clusters, h5py.File(study["relevances"]) as file:
        methods = strings(clusters["method"])
        assert methods == ["pure:layer2", "pure:layer3.0", "activations", "embedder:net", "random"]
        for number, lower in ((0, "layer2"), (1, "layer3.0")):
            label = clusters["label"][number, 1, 0]
            for virtual in range(3):
                wanted = file[f"relevance/{lower}"][0][label == virtual].mean(axis=0)
                np.testing.assert_allclose(clusters[f"circuit/{lower}"][1, 0, virtual], wanted, rtol=1e-4, atol=1e-7)
            assert np.isnan(clusters[f"circuit/{lower}"][1, 0, 3]).all()


def test_tables_hold_the_distances_of_scipy(study: dict[str, str]) -> None:
    from scipy.spatial.distance import pdist, squareform
    from scipy.stats import pearsonr, sem

    table = read_table(study["interpretability"])
    with h5py.File(study["virtual_neurons"]) as clusters, h5py.File(study["embeddings"]) as file:
        valid = clusters["reference_id"][1] >= 0
        distances = pdist(file["embedding"][1][valid])
        label = clusters["label"][1, 0, 1][valid]
        same = np.equal.outer(label, label)[np.triu_indices(valid.sum(), 1)]
        row = table[(table.neuron == 1) & (table.method == "pure:layer3.0") & (table.n_clusters == 2)].iloc[0]
        assert row.intra == pytest.approx(distances[same].mean(), rel=1e-6)
        assert row.inter == pytest.approx(distances[~same].mean(), rel=1e-6)
        whole = table[(table.neuron == 1) & (table.method == "none")].iloc[0]
        assert whole.intra == pytest.approx(distances.mean(), rel=1e-6)
        assert np.isnan(whole.inter)
        with h5py.File(study["relevances"]) as relevance:
            circuit = pdist(relevance["relevance/layer2"][1][valid])
        correlation = read_table(study["alignment"])
        row = correlation[(correlation.neuron == 1) & (correlation.method == "pure:layer2")].iloc[0]
        assert row.correlation == pytest.approx(pearsonr(circuit, distances)[0], abs=1e-6)
        assert squareform(distances).shape == (12, 12)
    gaps = table[(table.method == "activations") & (table.n_clusters == 3)].gap.dropna()
    summary = read_table(study["summary"])
    row = summary[(summary.method == "activations") & (summary.n_clusters == 3) & (summary.quantity == "gap")].iloc[0]
    assert row["mean"] == pytest.approx(gaps.mean(), rel=1e-6)
    assert row.standard_error == pytest.approx(sem(gaps), rel=1e-6)
    assert row.low < row["mean"] < row.high
    assert row.n == len(gaps)


def test_a_dead_neuron_is_in_the_table_without_numbers(study: dict[str, str]) -> None:
    dead = read_table(study["interpretability"]).query("neuron == @DEAD")
    assert len(dead) > 0
    assert (dead.n_references == 0).all()
    assert dead[["intra", "inter", "gap"]].isna().all(axis=None)
    assert np.isnan(read_table(study["alignment"]).query("neuron == @DEAD").correlation).all()


def test_same_inputs_same_bytes(study: dict[str, str], tmp_path: Path) -> None:
    again = str(tmp_path / "v.h5")
    inputs = (study["relevances"], study["activations"], [study["embeddings"]])
    virtual_neurons(*inputs, again, ["net"], [2, 3, 4])
    with h5py.File(study["virtual_neurons"]) as one, h5py.File(again) as other:
        for name in ("label", "inertia", "silhouette", "circuit/layer2"):
            assert one[name][...].tobytes() == other[name][...].tobytes()
    table, summary = tmp_path / "i.csv", tmp_path / "s.csv"
    interpretability(
        study["relevances"], again, [study["embeddings"]], str(table), str(summary), ["net"], bootstrap=200
    )
    assert table.read_bytes() == Path(study["interpretability"]).read_bytes()
    assert summary.read_bytes() == Path(study["summary"]).read_bytes()


@pytest.mark.parametrize("neurons", [3, [0, DEAD, RARE]])
def test_figures_are_drawn(study: dict[str, str], tmp_path: Path, neurons: int | list[int]) -> None:
    folder = tmp_path / "figures"
    paths = (study["images_h5"], study["patches"], study["virtual_neurons"], study["projections"])
    neuron_figures(*paths, str(folder), str(tmp_path / "g.html"), "title", neurons)
    drawn = sorted(path.name for path in folder.iterdir())
    assert f"neuron_{DEAD:05d}_umap.png" not in drawn
    assert len(drawn) == 2 * (3 if neurons == 3 else 2)
    assert all(path.stat().st_size > 5000 for path in folder.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "g.html"]


def test_a_neuron_that_is_not_in_the_layer_is_not_drawn(
    study: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = (study["images_h5"], study["patches"], study["virtual_neurons"], study["projections"])
    neuron_figures(*paths, str(tmp_path / "f"), str(tmp_path / "g.html"), "title", [1, 9])
    assert len(list((tmp_path / "f").iterdir())) == 2
    assert "not drawn: 9" in caplog.text


def test_more_clusters_than_colors(study: dict[str, str], tmp_path: Path) -> None:
    out = str(tmp_path / "v.h5")
    virtual_neurons(study["relevances"], study["activations"], [study["embeddings"]], out, ["net"], [2, 11])
    paths = (study["images_h5"], study["patches"], out, study["projections"])
    neuron_figures(*paths, str(tmp_path / "f"), str(tmp_path / "g.html"), "title", [0], n_clusters=11, n_references=12)
    assert len(list((tmp_path / "f").iterdir())) == 2


def test_a_selection_of_dead_neurons_only(wounded: dict[str, str], study: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all of them are dead"):
        relevances(
            **wounded, activations_h5=study["activations"], relevances_h5=str(tmp_path / "r.h5"), layer="layer3",
            lower_layers=["layer2"], neurons=[DEAD],
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_not_finite(small: dict[str, str], tmp_path: Path, value: float) -> None:
    state = read_checkpoint(small["weights"])
    state["layer3.1.bn2.bias"][7] = value
    torch.save(state, tmp_path / "m.pth")
    paths = {"images_h5": small["images_h5"], "weights": f"{tmp_path}/m.safetensors", "card": f"{tmp_path}/m.json"}
    options = {"depth": 14, "num_classes": 2}
    model(paths["images_h5"], f"{tmp_path}/m.pth", paths["weights"], paths["card"], CIFAR_RESNET, options)
    with pytest.raises(UserError, match="layer 'layer3': neuron 7 is NaN or infinite on image 0"):
        activations(**paths, activations_h5=f"{tmp_path}/a.h5", layer="layer3", n_references=3)
    assert not (tmp_path / "a.h5").exists()


def test_more_references_than_images(small: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="50 wanted, but .* has only 40 images"):
        activations(**small, activations_h5=f"{tmp_path}/a.h5", layer="layer3", n_references=50)


def test_memory_that_ends_halves_the_batch(run_stage: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_stage(activations, layer="layer3", n_references=4, batch_size=10)
    with h5py.File(whole) as file:
        wanted = file["reference_id"][...], file["mean"][...]
    module_forward = torch.nn.Module.__call__

    def forward(self: torch.nn.Module, *args: torch.Tensor, **kwargs: object) -> torch.Tensor:
        if type(self).__name__ == "CifarResNet" and len(args[0]) > 6:
            raise torch.OutOfMemoryError("no room")
        return module_forward(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__call__", forward)
    with h5py.File(run_stage(activations, layer="layer3", n_references=4, batch_size=10)) as file:
        np.testing.assert_array_equal(file["reference_id"][...], wanted[0])
        np.testing.assert_allclose(file["mean"][...], wanted[1], rtol=1e-5)


def test_memory_that_ends_for_one_image_is_an_error() -> None:
    def fail(start: int, stop: int, size: int) -> None:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(fail, 8, torch.device("cpu"), 32))


def test_devices_that_are_not_there() -> None:
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:99", "gpu"):
        with pytest.raises(UserError, match=f"device '{name}' is not available"):
            choose_device(name)


def test_gradient_patches_of_a_transformer(small: dict[str, str], tmp_path: Path) -> None:
    options = {"img_size": 32, "patch_size": 8, "num_classes": 2, "depth": 2}
    paths = {"images_h5": small["images_h5"], "weights": f"{tmp_path}/m.safetensors", "card": f"{tmp_path}/m.json"}
    model(paths["images_h5"], "random", paths["weights"], paths["card"], "timm:vit_tiny_patch16_224", options)
    layer = "blocks.1.mlp.act"
    activations(**paths, activations_h5=f"{tmp_path}/a.h5", layer=layer, n_references=4)
    stage = {**paths, "activations_h5": f"{tmp_path}/a.h5", "layer": layer, "neurons": [0, 1]}
    relevances(**stage, relevances_h5=f"{tmp_path}/r.h5", lower_layers=["blocks.0.mlp.act"])
    patches(**stage, patches_h5=f"{tmp_path}/p.h5", attribution="gradient")
    with h5py.File(f"{tmp_path}/p.h5") as file, h5py.File(f"{tmp_path}/a.h5") as top:
        found = file["reference_id"][...] >= 0
        assert (file["box"][...][found][:, 2] > file["box"][...][found][:, 0]).all()
        assert top["reference_position"][...].max() < 17
    with pytest.raises(UserError, match="attribution: gradient"):
        patches(**stage, patches_h5=f"{tmp_path}/q.h5")
