"""The stages of linear explanations on activations that somebody made up, and on a small network."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from purelens.circuits.activations import activations
from purelens.circuits.relevances import Attribution, relevances
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.data.dataset import dataset, open_images
from purelens.data.splits import TEST, split_images
from purelens.errors import UserError
from purelens.explanations.ablate import Ablation, ablate, find_head, losses, scaled_like
from purelens.explanations.assignments import gates
from purelens.explanations.concepts import concepts
from purelens.explanations.explain import explain
from purelens.explanations.network_dissection import network_dissection
from purelens.explanations.simulate import givers, open_explanations, simulate, simulations
from purelens.explanations.table import open_concepts
from purelens.explanations.units import open_units
from purelens.networks.loading import load_network
from purelens.networks.subnetwork import Segment
from purelens.storage.artifacts import create, read, strings

CONCEPTS = ["red", "nan", "a <b>", "rare", "never", "everywhere"]
N_IMAGES = 400
CONSTANT, DEAD, SUM, SINGLE, NOISE = range(5)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that nobody looks at, whose concepts are known, and the activations of five neurons."""
    folder = tmp_path_factory.mktemp("labeled")
    rng = np.random.default_rng(0)
    truth = rng.random((N_IMAGES, len(CONCEPTS))) < [0.3, 0.3, 0.2, 0.03, 0, 1]
    with h5py.File(folder / "source.h5", "w") as file:
        file["pixels"] = np.zeros((N_IMAGES, 8, 8, 3), dtype=np.uint8)
        file["label"] = np.arange(N_IMAGES) % 2
        file["class_name"] = ["null", "None"]
        file["concept"] = truth.astype(np.uint8)
        file["concept_label"] = CONCEPTS
    dataset(str(folder / "source.h5"), str(folder / "images.h5"), 8)
    write_activations(folder / "activations.h5", made_up(truth, rng))
    return folder


def made_up(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Activations (N, 5) of a constant, a dead, two meaningful and a meaningless neuron."""
    values = np.zeros((N_IMAGES, 5))
    values[:, CONSTANT] = 2
    values[:, SUM] = 0.5 + 1.5 * truth[:, 0] + 0.75 * truth[:, 1]
    values[:, SINGLE] = 3 * truth[:, 2]
    values[:, NOISE] = rng.random(N_IMAGES)
    return values


def write_activations(path: Path, values: np.ndarray) -> None:
    with create(path, "activations") as out:
        out.coordinate("image", len(values))
        out.coordinate("neuron", values.shape[1])
        out.coordinate("reference", 2)
        for name in ("mean", "max"):
            out.variable(name, data=values)


def run_labels(folder: Path, at: Path) -> None:
    concepts(str(folder / "images.h5"), [], [], str(at / "labels.h5"), {"source": "labels"})


def run_explain(folder: Path, at: Path, **options: object) -> pd.DataFrame:
    """Explain by labels, and score."""
    run_labels(folder, at)
    arguments = {"names": ["labels"], "neurons": "all", "layer": "x"} | options
    explain(str(folder / "activations.h5"), [str(at / "labels.h5")], [], [], str(at / "explanations.h5"), **arguments)  # type: ignore[arg-type]
    paths = [str(at / f"{name}.csv") for name in ("scores", "summary", "virtual")]
    simulate(str(folder / "activations.h5"), str(at / "explanations.h5"), str(at / "labels.h5"), [], *paths)
    return pd.read_csv(paths[0], keep_default_na=False, na_values=[""])


def explanation(path: Path, method: str, neuron: int) -> dict[str, float]:
    with h5py.File(path) as file:
        place = strings(file["method"]).index(method)
        names, numbers = strings(file["concept_label"]), file["concept_number"][place, neuron]
        return {names[n]: w for n, w in zip(numbers, file["weight"][place, neuron], strict=True) if n >= 0}


def test_concepts_of_labels(labeled: Path, tmp_path: Path) -> None:
    run_labels(labeled, tmp_path)
    with h5py.File(tmp_path / "labels.h5") as file:
        names = strings(file["concept_label"])
        assert names == ["null", "None", *CONCEPTS]
        kept = dict(zip(names, file["kept"][...].astype(bool).tolist(), strict=True))
        assert (kept["red"], kept["nan"], kept["null"], kept["never"], kept["everywhere"]) == (
            True,
            True,
            True,
            False,
            False,
        )
        assert np.bincount(file["split"][...]).tolist() == [280, 40, 80]


def test_known_neurons_are_explained_exactly(labeled: Path, tmp_path: Path) -> None:
    scores = run_explain(labeled, tmp_path)
    path = tmp_path / "explanations.h5"
    assert explanation(path, "le:labels", SUM) == pytest.approx({"red": 1.5, "nan": 0.75})
    assert explanation(path, "le:labels", SINGLE) == pytest.approx({"a <b>": 3})
    with h5py.File(path) as file:
        assert file["intercept"][0, SUM] == pytest.approx(0.5)
    linear = scores[scores["method"] == "le:labels"].set_index("neuron")
    assert linear.loc[[SUM, SINGLE], "correlation"].to_numpy() == pytest.approx([1, 1])
    assert abs(linear.loc[NOISE, "correlation"]) < 0.4


def test_dead_and_constant_neurons_have_no_explanation(
    labeled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="purelens"):
        scores = run_explain(labeled, tmp_path)
    for neuron in (CONSTANT, DEAD):
        assert explanation(tmp_path / "explanations.h5", "le:labels", neuron) == {}
        row = scores[(scores["method"] == "le:labels") & (scores["neuron"] == neuron)].iloc[0]
        assert row["n_concepts"] == 0
        assert np.isnan(row["correlation"])
    assert [record for record in caplog.records if "2 neurons are constant" in record.message]


def test_the_control_gives_every_neuron_the_words_of_others(labeled: Path, tmp_path: Path) -> None:
    scores = run_explain(labeled, tmp_path)
    shuffled = scores[scores["method"] == "shuffled:le:labels"].set_index("neuron")["correlation"]
    assert set(shuffled.index) == {SUM, SINGLE, NOISE}
    assert (shuffled < 0.4).all()
    with (
        open_concepts(str(tmp_path / "labels.h5")) as simulator,
        open_explanations(str(tmp_path / "explanations.h5"), str(labeled / "activations.h5"), None, simulator) as found,
    ):
        simulated = simulations(found, 0, simulator.probabilities(np.arange(N_IMAGES)))
        places, given = givers(simulated, found.units, 20, 0)
        assert given.shape == (2, 3)  # all the others, once each
        assert (given != places).all()
        assert {tuple(sorted(column)) for column in given.T} == {(SUM, SINGLE), (SUM, NOISE), (SINGLE, NOISE)}


def test_test_images_take_no_part(labeled: Path, tmp_path: Path) -> None:
    """Activations on test images may be anything: the explanations are the same."""
    run_explain(labeled, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "images.h5").symlink_to(labeled / "images.h5")
    with h5py.File(labeled / "activations.h5") as file, h5py.File(tmp_path / "labels.h5") as split:
        values = file["mean"][...]
        values[split["split"][...] == TEST] = 1e3
    write_activations(other / "activations.h5", values)
    run_explain(other, other)
    with h5py.File(tmp_path / "explanations.h5") as one, h5py.File(other / "explanations.h5") as two:
        for name in ("concept_number", "weight", "intercept", "correlation"):
            np.testing.assert_array_equal(one[name][...], two[name][...])


def test_dissection_of_dead_neurons(labeled: Path, tmp_path: Path) -> None:
    """CLIP-Dissect says nothing of dead and constant neurons, and finds the concept of the others."""
    rng = np.random.default_rng(1)
    with h5py.File(labeled / "images.h5") as file:
        truth = file["concept"][...]
    with create(tmp_path / "texts.h5", "concepts") as out:
        out.coordinate("image", N_IMAGES)
        out.coordinate("concept", len(CONCEPTS))
        out.variable("concept_label", data=CONCEPTS)
        out.variable("value", data=0.1 + 0.3 * truth + 0.02 * rng.random(truth.shape))
        out.variable("kept", data=np.ones(len(CONCEPTS), dtype=np.uint8))
        out.variable("split", data=split_images(N_IMAGES, 0))
        for name, value in (("kind", "texts"), ("scale", 40.0), ("bias", -0.25)):
            out.attribute(name, value)
    explain(
        str(labeled / "activations.h5"),
        [str(tmp_path / "texts.h5")],
        [],
        [],
        str(tmp_path / "explanations.h5"),
        ["t"],
        "all",
        "x",
    )
    found = [explanation(tmp_path / "explanations.h5", "clip_dissect:t", neuron) for neuron in range(5)]
    assert found[CONSTANT] == found[DEAD] == {}
    assert found[SINGLE] == {"a <b>": 1.0}
    assert len(found[NOISE]) == 1


def test_explanations_from_elsewhere_are_scored(labeled: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(f"neuron,concept,weight\n{SINGLE},a <b>,2\n{SUM},unheard of,1\n")
    scores = run_explain(labeled, tmp_path, elsewhere={"mine": str(tmp_path / "mine.csv")})
    mine = scores[scores["method"] == "elsewhere:mine"].set_index("neuron")
    assert mine.loc[SINGLE, "correlation"] == pytest.approx(1)
    assert np.isnan(mine.loc[SUM, "correlation"])  # the simulator does not know the concept
    (tmp_path / "mine.csv").write_text("neuron,concept\n77,red\n")
    with pytest.raises(UserError, match=r"77.*not among those studied"):
        run_explain(labeled, tmp_path, elsewhere={"mine": str(tmp_path / "mine.csv")})


def test_fewer_images_than_concepts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((30, 60)) < 0.4
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["pixels"] = np.zeros((30, 8, 8, 3), dtype=np.uint8)
        file["concept"], file["concept_label"] = truth.astype(np.uint8), [f"c{i}" for i in range(60)]
    dataset(str(tmp_path / "source.h5"), str(tmp_path / "images.h5"), 8)
    values = np.zeros((30, 2))
    values[:, 0] = truth[:, 7]
    write_activations(tmp_path / "activations.h5", values)
    run_explain(tmp_path, tmp_path)
    assert max(explanation(tmp_path / "explanations.h5", "le:labels", 0).items(), key=lambda item: item[1])[0] == "c7"


def test_images_without_labels_say_so(tmp_path: Path, image_folder: Path) -> None:
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["pixels"] = np.zeros((5, 8, 8, 3), dtype=np.uint8)
    dataset(str(tmp_path / "source.h5"), str(tmp_path / "images.h5"), 8)
    with pytest.raises(UserError, match="neither labels nor concepts"):
        run_labels(tmp_path, tmp_path)


@pytest.fixture(scope="module")
def gated(small: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All artifacts of the small network up to the gates."""
    folder = tmp_path_factory.mktemp("gated")
    names = ("activations", "relevances", "virtual_neurons", "gates")
    paths = dict(small) | {f"{name}_h5": str(folder / f"{name}.h5") for name in names}
    inputs = dict(small) | {"activations_h5": paths["activations_h5"]}
    activations(**inputs, layer="layer3", n_references=12)
    relevances(
        **inputs, relevances_h5=paths["relevances_h5"], layer="layer3", lower_layers=["layer2"], neurons=["0-15"]
    )
    virtual_neurons(paths["relevances_h5"], paths["activations_h5"], [], paths["virtual_neurons_h5"], [], [2, 3])
    gates(
        **inputs, virtual_neurons_h5=paths["virtual_neurons_h5"], gates_h5=paths["gates_h5"], layer="layer3",
        lower_layer="layer2", n_clusters=2, neurons=5, batch_size=7,
    )  # fmt: skip
    return paths


def test_gates_are_the_nearest_circuits(gated: dict[str, str]) -> None:
    network = load_network(gated["weights"], gated["card"])
    with (
        h5py.File(gated["gates_h5"]) as found,
        h5py.File(gated["virtual_neurons_h5"]) as clusters,
        h5py.File(gated["activations_h5"]) as file,
        open_images(gated["images_h5"]) as images,
        Segment(network.module, "layer3", ["layer2"]) as segment,
    ):
        assert len(found["neuron"]) == 5
        attribution = Attribution(segment, "layer3")
        seen = set()
        for row, neuron in enumerate(found["neuron"][...].tolist()):
            circuit = clusters["circuit/layer2"][0, neuron, :2]
            for image in range(len(images)):
                gate = int(found["virtual_neuron"][row, image])
                if file["max"][image, neuron] <= 0:
                    assert gate == -1
                    continue
                attribution.forward(network.normalize(torch.from_numpy(images.take(np.array([image])))))
                relevance = attribution.backward(np.array([0]), np.array([neuron]))["layer2"].numpy()[0]
                distances = np.linalg.norm(circuit - relevance, axis=1)
                if abs(distances[0] - distances[1]) > 1e-5:
                    assert gate == distances.argmin()
                seen.add(gate)
        assert seen >= {0, 1}


def test_references_have_the_gate_of_their_cluster(gated: dict[str, str]) -> None:
    """Assigning to the nearest mean is what k-means ended with."""
    with h5py.File(gated["gates_h5"]) as found, h5py.File(gated["virtual_neurons_h5"]) as clusters:
        method = strings(clusters["method"]).index("pure:layer2")
        for row, neuron in enumerate(found["neuron"][...].tolist()):
            ids, label = clusters["reference_id"][neuron], clusters["label"][method, 0, neuron]
            assert (found["virtual_neuron"][row][ids[ids >= 0]] == label[ids >= 0]).all()


def test_virtual_neurons_add_up_to_their_neuron(gated: dict[str, str]) -> None:
    with (
        open_units(gated["activations_h5"], gated["gates_h5"]) as units,
        read(gated["activations_h5"], "activations") as file,
    ):
        assert len(units) == 64 + 5 * 2
        values = units.activations(slice(0, len(units)), np.arange(40))
        for neuron in set(units.neuron[units.part >= 0].tolist()):
            children = np.flatnonzero((units.neuron == neuron) & (units.part >= 0))
            active = file["max"][:, neuron] > 0
            np.testing.assert_allclose(values[:, children].sum(axis=1)[active], file["mean"][:, neuron][active])
            assert not values[:, children].sum(axis=1)[~active].any()


def test_replacing_a_neuron_is_a_whole_pass_with_its_maps_shifted(
    small: dict[str, str], run_stage: Callable[..., str]
) -> None:
    references = run_stage(activations, layer="layer3", n_references=5)
    network = load_network(small["weights"], small["card"])
    rng = np.random.default_rng(0)
    with open_images(small["images_h5"]) as images, h5py.File(references) as file:
        chosen, mean = np.arange(0, 40, 3), file["mean"][...].astype(float)
        for layer, has_head in (("layer3", True), ("layer2", False)):
            ablation = Ablation(network, images, layer, "auto", torch.device("cpu"), 5)
            assert (ablation.head_weight is not None) == has_head
            logits, values = ablation.logits(chosen), rng.random(len(chosen))
            found = ablation.replaced(chosen, logits, 3, mean[chosen, 3], values)

            def replace(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
                output = output.clone()
                output[:, 3] += torch.from_numpy(values - mean[chosen, 3])[:, None, None]  # noqa: B023
                return output

            handle = network.module.get_submodule(layer).register_forward_hook(replace)
            with torch.no_grad():
                wanted = network.module(network.normalize(torch.from_numpy(images.take(chosen)))).numpy()
            handle.remove()
            np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
            assert np.abs(wanted - logits).max() > 1e-3
            same = ablation.replaced(chosen, logits, 3, mean[chosen, 3], mean[chosen, 3])
            np.testing.assert_allclose(same, logits, atol=1e-6 * np.abs(logits).max())  # a perfect simulation


def test_a_perfect_simulation_changes_no_loss(gated: dict[str, str], tmp_path: Path) -> None:
    """An explanation by a concept that is the neuron itself scores 1, its mean 0."""
    with h5py.File(gated["activations_h5"]) as file:
        alive = int(file["mean"][...].std(axis=0).argmax())
        truth = file["mean"][...][:, [alive]]
    with create(tmp_path / "own.h5", "concepts") as out:
        out.coordinate("image", len(truth))
        out.coordinate("concept", 2)
        out.variable("concept_label", data=["itself", "nothing"])
        out.variable("value", data=np.concatenate([truth, np.full_like(truth, 0.5)], axis=1))
        out.variable("kept", data=np.ones(2, dtype=np.uint8))
        out.variable("split", data=np.repeat([0, 1, 2], [20, 10, 10]).astype(np.uint8))
        for name, value in (("kind", "labels"), ("scale", 1.0), ("bias", 0.0)):
            out.attribute(name, value)
    for name in ("itself", "nothing"):
        (tmp_path / f"{name}.csv").write_text(f"neuron,concept\n{alive},{name}\n")
    explain(
        gated["activations_h5"], [], [], [], str(tmp_path / "explanations.h5"), [], "all", "layer3",
        elsewhere={name: str(tmp_path / f"{name}.csv") for name in ("itself", "nothing")},
    )  # fmt: skip
    ablate(
        gated["images_h5"], gated["weights"], gated["card"], gated["activations_h5"], str(tmp_path / "explanations.h5"),
        str(tmp_path / "own.h5"), [], str(tmp_path / "ablation.csv"), str(tmp_path / "summary.csv"), "layer3", 4,
    )  # fmt: skip
    scores = pd.read_csv(tmp_path / "ablation.csv").set_index("method")["score"]
    assert scores["elsewhere:itself"] == pytest.approx(1, abs=1e-5)
    assert scores["elsewhere:nothing"] == pytest.approx(0, abs=1e-5)


def test_network_dissection_is_the_definition(
    small: dict[str, str], run_stage: Callable[..., str], tmp_path: Path
) -> None:
    """Quantiles and overlaps of whole maps, neuron by neuron and concept by concept."""
    references = run_stage(activations, layer="layer3", n_references=5)
    rng = np.random.default_rng(0)
    masked = tmp_path / "masked.h5"
    with h5py.File(small["images_h5"]) as file, h5py.File(tmp_path / "source.h5", "w") as out:
        out["pixels"] = file["pixels"][...]
        out["concept"] = rng.integers(0, 2, (40, 3), dtype=np.uint8)
        out["concept_label"] = ["a", "b", "c"]
        out["mask"] = rng.integers(0, 2, (40, 32, 32), dtype=np.uint8)
    dataset(str(tmp_path / "source.h5"), str(masked), 32)
    network_dissection(
        str(masked), small["weights"], small["card"], references, str(tmp_path / "iou.h5"), "layer3", batch_size=7
    )
    network = load_network(small["weights"], small["card"])
    chosen = np.flatnonzero(split_images(40, 0) != TEST)
    with (
        open_images(masked) as images,
        Segment(network.module, "layer3") as segment,
        h5py.File(tmp_path / "iou.h5") as found,
    ):
        maps = segment.forward(network.normalize(torch.from_numpy(images.take(chosen))))[0].detach()
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
                assert min(bounds) - 2e-3 <= found["iou"][neuron, number] <= max(bounds) + 2e-3
        assert strings(found["concept_label"]) == ["a", "b", "c"]
        assert found["iou"][...].max() > 0.001


def test_images_without_masks_are_not_dissected(
    small: dict[str, str], run_stage: Callable[..., str], tmp_path: Path
) -> None:
    references = run_stage(activations, layer="layer3", n_references=5)
    network_dissection(
        small["images_h5"], small["weights"], small["card"], references, str(tmp_path / "iou.h5"), "layer3"
    )
    with h5py.File(tmp_path / "iou.h5") as found:
        assert found["iou"].shape == (64, 0)


def test_losses_and_scales() -> None:
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    wanted = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits) / 1.1, torch.from_numpy(label), reduction="none"
    )
    np.testing.assert_allclose(losses(logits, label, 1.1), wanted, atol=1e-12)
    x = rng.random(30)
    assert scaled_like(3 * x - 1, x) == pytest.approx((3, -1))
    assert scaled_like(x, np.ones(30)) == pytest.approx((0, x.mean()))


def test_no_head_where_something_comes_between(small: dict[str, str]) -> None:
    network = load_network(small["weights"], small["card"])
    with open_images(small["images_h5"]) as images:
        pixels = network.normalize(torch.from_numpy(images.take(np.arange(3))))
    assert find_head(network, "layer3.0", "auto", pixels) is None
    weight = find_head(network, "layer3", "auto", pixels)
    assert weight is not None
    np.testing.assert_allclose(weight, network.module.linear.weight.numpy())
