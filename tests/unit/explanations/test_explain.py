"""Known neurons are explained exactly; dead ones are not."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from purelens.data.dataset import dataset
from purelens.data.splits import TEST, split_images
from purelens.errors import UserError
from purelens.explanations.explain import explain
from purelens.storage.artifacts import create
from support.explanations import (
    CONCEPTS,
    CONSTANT,
    DEAD,
    N_IMAGES,
    NOISE,
    SINGLE,
    SUM,
    explanation,
    run_explain,
    write_activations,
)


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
    explained = [explanation(tmp_path / "explanations.h5", "clip_dissect:t", neuron) for neuron in range(5)]
    assert explained[CONSTANT] == explained[DEAD] == {}
    assert explained[SINGLE] == {"a <b>": 1.0}
    assert len(explained[NOISE]) == 1


def test_imported_explanations_are_scored(labeled: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(f"neuron,concept,weight\n{SINGLE},a <b>,2\n{SUM},unheard of,1\n")
    scores = run_explain(labeled, tmp_path, imported={"mine": str(tmp_path / "mine.csv")})
    mine = scores[scores["method"] == "imported:mine"].set_index("neuron")
    assert mine.loc[SINGLE, "correlation"] == pytest.approx(1)
    assert np.isnan(mine.loc[SUM, "correlation"])  # the simulator does not know the concept
    (tmp_path / "mine.csv").write_text("neuron,concept\n77,red\n")
    with pytest.raises(UserError, match=r"77.*not among those studied"):
        run_explain(labeled, tmp_path, imported={"mine": str(tmp_path / "mine.csv")})


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
