"""Gathered shards are bit for bit the artifact of one job; shards that do not belong together are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers import data_of
from purelens.circuits.activations import activations
from purelens.circuits.embeddings import embeddings
from purelens.circuits.patches import patches
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.errors import UserError
from purelens.networks.subnetwork import LayerView
from purelens.storage.gather import gather
from purelens.storage.provenance import Execution, Provenance, read_record
from support.edited import edited

LAYER = LayerView("layer3")
SQUEEZENET = {
    "source": "network", "architecture": "torchvision:squeezenet1_1", "options": {}, "weights": "random",
    "layer": "features.3", "size": 32, "mean": None, "std": None,
}  # fmt: skip


def execution(shard: str, **record: Any) -> Execution:
    """Of a shard, with its provenance record."""
    values = {**record, "execution": {"shard": shard, **record.get("execution", {})}}
    return Execution(shard=shard, provenance=Provenance(**values))


def gathered(stage: Callable[..., None], folder: Path, inputs: dict[str, Any], n_shards: int) -> str:
    """Run a stage as several jobs."""
    name = stage.__name__
    shards = [f"{folder}/{name}.{number}.h5" for number in range(1, n_shards + 1)]
    for number, path in enumerate(shards, 1):
        stage(**inputs, **{f"{name}_h5": path}, execution=execution(f"{number}/{n_shards}"))
    gather(shards, f"{folder}/{name}.gathered.h5")
    return f"{folder}/{name}.gathered.h5"


def whole(stage: Callable[..., None], folder: Path, inputs: dict[str, Any]) -> str:
    """Run a stage as one job."""
    path = f"{folder}/{stage.__name__}.h5"
    stage(**inputs, **{f"{stage.__name__}_h5": path})
    return path


def assert_shards_are_the_whole(folder: Path, inputs: dict[str, Any], n_shards: int) -> None:
    """Compare all stages that work on neurons."""
    below = {**inputs, "circuits": Circuits(["layer2", "layer3.0"])}
    assert data_of(gathered(relevances, folder, below, n_shards)) == data_of(whole(relevances, folder, below))
    patches_h5 = whole(patches, folder, inputs)
    assert data_of(gathered(patches, folder, inputs, n_shards)) == data_of(patches_h5)
    seen = {"images_h5": inputs["images_h5"], "patches_h5": patches_h5, "embedder": SQUEEZENET}
    assert data_of(gathered(embeddings, folder, seen, n_shards)) == data_of(whole(embeddings, folder, seen))


@pytest.mark.parametrize("n_shards", [2, 3])
def test_shards_are_the_whole_bit_for_bit(small: dict[str, Any], tmp_path: Path, n_shards: int) -> None:
    top = {**small, "layer": LAYER, "n_references": 6}
    activations_h5 = whole(activations, tmp_path, top)
    assert data_of(gathered(activations, tmp_path, top, n_shards)) == data_of(activations_h5)
    inputs = {**small, "activations_h5": activations_h5, "layer": LAYER, "neurons": ["0-9"]}
    assert_shards_are_the_whole(tmp_path, inputs, n_shards)


def test_ties_across_shards_go_to_the_earlier_image(small: dict[str, Any], tmp_path: Path) -> None:
    shards = []
    for number in (1, 2):
        shards.append(f"{tmp_path}/{number}.h5")
        inputs = {**small, "layer": LAYER, "n_references": 6}
        activations(**inputs, activations_h5=shards[-1], execution=execution(f"{number}/2"))
        with edited(shards[-1]) as file:
            values = np.sort(file["reference_value"][...].round(1))[:, ::-1]
            file["reference_value"][...] = values
    gather(shards, f"{tmp_path}/all.h5")
    with h5py.File(f"{tmp_path}/all.h5") as file:
        value, image = file["reference_value"][...], file["reference_id"][...]
    for neuron in range(len(value)):
        for rank in range(5):
            assert value[neuron, rank] >= value[neuron, rank + 1]
            if value[neuron, rank] == value[neuron, rank + 1]:  # shards keep their own order among equal values
                assert (image[neuron, rank] < 20) >= (image[neuron, rank + 1] < 20)


@pytest.mark.parametrize(
    ("shards", "message"),
    [(["1/2"], "not shards 1 to 1"), (["2/2", "1/2"], "not shards 1 to 2"), ([None], "not shards")],
)
def test_other_shards_are_refused(small: dict[str, Any], tmp_path: Path, shards: list[str], message: str) -> None:
    paths = []
    for number, shard in enumerate(shards):
        paths.append(f"{tmp_path}/{number}.h5")
        record = Provenance(execution={"shard": shard} if shard else {})
        inputs = {**small, "layer": LAYER, "n_references": 6}
        activations(**inputs, activations_h5=paths[-1], execution=Execution(provenance=record))
    with pytest.raises(UserError, match=message):
        gather(paths, f"{tmp_path}/all.h5")


def test_shards_of_other_artifacts_are_refused(small: dict[str, Any], tmp_path: Path) -> None:
    paths = []
    for number in (1, 2):
        paths.append(f"{tmp_path}/{number}.h5")
        inputs = {**small, "layer": LAYER, "n_references": 6}
        activations(**inputs, activations_h5=paths[-1], execution=execution(f"{number}/2", code=str(number)))
    with pytest.raises(UserError, match="not made from the same inputs"):
        gather(paths, f"{tmp_path}/all.h5")


def test_a_shard_of_dead_neurons_only(small: dict[str, Any], tmp_path: Path) -> None:
    activations_h5 = whole(activations, tmp_path, {**small, "layer": LAYER, "n_references": 6})
    with edited(activations_h5) as file:
        for name in ("reference_id", "reference_position"):
            values = file[name][...]
            values[5] = -1
            file[name][...] = values
    inputs = {**small, "activations_h5": activations_h5, "layer": LAYER, "neurons": [4, 5]}
    assert_shards_are_the_whole(tmp_path, inputs, 2)


def test_a_gathered_artifact_knows_where_its_inputs_are(small: dict[str, Any], tmp_path: Path) -> None:
    shards = []
    for number in (1, 2):
        shards.append(f"{tmp_path}/layer/shards/{number}.h5")
        paths = {"paths": {"images_h5": "../../images.h5"}}
        inputs = {**small, "layer": LAYER, "n_references": 6}
        activations(**inputs, activations_h5=shards[-1], execution=execution(f"{number}/2", execution=paths))
    gather(shards, f"{tmp_path}/layer/activations.h5", Execution(provenance=Provenance(code="c")))
    record = read_record(f"{tmp_path}/layer/activations.h5")
    assert record is not None
    assert record["execution"]["paths"] == {"images_h5": "../images.h5"}
    assert record["execution"]["gather"] == "c"
