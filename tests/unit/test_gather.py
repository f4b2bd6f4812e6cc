"""Parts of a stage, put together, are the whole."""

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
from purelens.errors import UserError
from purelens.storage.artifacts import row_checksums
from purelens.storage.gather import gather
from purelens.storage.provenance import Provenance, read_record
from purelens.storage.shards import part_of


def in_parts(stage: Callable[..., None], folder: Path, inputs: dict[str, Any], n_parts: int) -> str:
    name = stage.__name__
    shards = [f"{folder}/{name}.{number}.h5" for number in range(1, n_parts + 1)]
    for number, path in enumerate(shards, 1):
        shard = f"{number}/{n_parts}"
        stage(**inputs, **{f"{name}_h5": path}, shard=shard, provenance=Provenance(how={"shard": shard}))
    gather(shards, f"{folder}/{name}.gathered.h5")
    return f"{folder}/{name}.gathered.h5"


def whole(stage: Callable[..., None], folder: Path, inputs: dict[str, Any]) -> str:
    path = f"{folder}/{stage.__name__}.h5"
    stage(**inputs, **{f"{stage.__name__}_h5": path})
    return path


@pytest.mark.parametrize("n_parts", [2, 3])
def test_parts_are_the_whole_bit_for_bit(small: dict[str, str], tmp_path: Path, n_parts: int) -> None:
    top = {**small, "layer": "layer3", "n_references": 6}
    activations_h5 = whole(activations, tmp_path, top)
    assert data_of(in_parts(activations, tmp_path, top, n_parts)) == data_of(activations_h5)
    inputs = {**small, "activations_h5": activations_h5, "layer": "layer3", "neurons": ["0-9"]}
    below = {**inputs, "lower_layers": ["layer2", "layer3.0"]}
    assert data_of(in_parts(relevances, tmp_path, below, n_parts)) == data_of(whole(relevances, tmp_path, below))
    patches_h5 = whole(patches, tmp_path, inputs)
    assert data_of(in_parts(patches, tmp_path, inputs, n_parts)) == data_of(patches_h5)
    settings = {"source": "network", "architecture": "torchvision:squeezenet1_1", "options": {}, "weights": "random"}
    settings |= {"layer": "features.3", "size": 32, "mean": None, "std": None}
    seen = {"images_h5": small["images_h5"], "patches_h5": patches_h5, "embedder": settings}
    assert data_of(in_parts(embeddings, tmp_path, seen, n_parts)) == data_of(whole(embeddings, tmp_path, seen))


def test_ties_across_parts_go_to_the_earlier_image(small: dict[str, str], tmp_path: Path) -> None:
    shards = []
    for number in (1, 2):
        shards.append(f"{tmp_path}/{number}.h5")
        activations(
            **small,
            activations_h5=shards[-1],
            layer="layer3",
            n_references=6,
            shard=f"{number}/2",
            provenance=Provenance(how={"shard": f"{number}/2"}),
        )
        with h5py.File(shards[-1], "r+") as file:
            values = np.sort(file["reference_value"][...].round(1))[:, ::-1]
            file["reference_value"][...] = values
            file["checksum/reference_value"][...] = row_checksums(values)
    gather(shards, f"{tmp_path}/all.h5")
    with h5py.File(f"{tmp_path}/all.h5") as file:
        value, image = file["reference_value"][...], file["reference_id"][...]
    for neuron in range(len(value)):
        for rank in range(5):
            assert value[neuron, rank] >= value[neuron, rank + 1]
            if value[neuron, rank] == value[neuron, rank + 1]:  # parts keep their own order among equal values
                assert (image[neuron, rank] < 20) >= (image[neuron, rank + 1] < 20)


@pytest.mark.parametrize(
    ("shards", "message"), [(["1/2"], "not parts 1 to 1"), (["2/2", "1/2"], "not parts 1 to 2"), ([None], "not parts")]
)
def test_other_parts_are_refused(small: dict[str, str], tmp_path: Path, shards: list[str], message: str) -> None:
    paths = []
    for number, shard in enumerate(shards):
        paths.append(f"{tmp_path}/{number}.h5")
        how = {"shard": shard} if shard else {}
        arguments = {"layer": "layer3", "n_references": 6, "activations_h5": paths[-1]}
        activations(**small, **arguments, provenance=Provenance(how=how))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        gather(paths, f"{tmp_path}/all.h5")


def test_parts_of_other_artifacts_are_refused(small: dict[str, str], tmp_path: Path) -> None:
    paths = []
    for number in (1, 2):
        paths.append(f"{tmp_path}/{number}.h5")
        provenance = Provenance(code=str(number), how={"shard": f"{number}/2"})
        activations(**small, layer="layer3", n_references=6, activations_h5=paths[-1], provenance=provenance)
    with pytest.raises(UserError, match="not made from the same inputs"):
        gather(paths, f"{tmp_path}/all.h5")


def test_parts_cover_everything_once() -> None:
    for n_items in (1, 5, 17):
        for n_parts in range(1, n_items + 1):
            parts = [part_of(np.arange(n_items), f"{i}/{n_parts}") for i in range(1, n_parts + 1)]
            assert np.concatenate(parts).tolist() == list(range(n_items))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shard", ["", "0/2", "3/2", "a/b", "1", "4/4"])
def test_wrong_parts_are_refused(shard: str) -> None:
    with pytest.raises(UserError, match="shard"):
        part_of(np.arange(3), shard)


def test_a_part_of_dead_neurons_only(small: dict[str, str], tmp_path: Path) -> None:
    top = {**small, "layer": "layer3", "n_references": 6}
    activations_h5 = whole(activations, tmp_path, top)
    with h5py.File(activations_h5, "r+") as file:
        for name in ("reference_id", "reference_position"):
            values = file[name][...]
            values[5] = -1
            file[name][...] = values
            file[f"checksum/{name}"][...] = row_checksums(values)
    inputs = {**small, "activations_h5": activations_h5, "layer": "layer3", "neurons": [4, 5]}
    below = {**inputs, "lower_layers": ["layer2"]}
    assert data_of(in_parts(relevances, tmp_path, below, 2)) == data_of(whole(relevances, tmp_path, below))
    patches_h5 = whole(patches, tmp_path, inputs)
    assert data_of(in_parts(patches, tmp_path, inputs, 2)) == data_of(patches_h5)
    settings = {"source": "network", "architecture": "torchvision:squeezenet1_1", "options": {}, "weights": "random"}
    settings |= {"layer": "features.3", "size": 32, "mean": None, "std": None}
    seen = {"images_h5": small["images_h5"], "patches_h5": patches_h5, "embedder": settings}
    assert data_of(in_parts(embeddings, tmp_path, seen, 2)) == data_of(whole(embeddings, tmp_path, seen))


def test_a_gathered_artifact_knows_where_its_inputs_are(small: dict[str, str], tmp_path: Path) -> None:
    shards = []
    for number in (1, 2):
        shards.append(f"{tmp_path}/layer/shards/{number}.h5")
        how = {"shard": f"{number}/2", "paths": {"images_h5": "../../images.h5"}}
        activations(**small, layer="layer3", n_references=6, activations_h5=shards[-1], provenance=Provenance(how=how))
    gather(shards, f"{tmp_path}/layer/activations.h5", Provenance(code="c"))
    record = read_record(f"{tmp_path}/layer/activations.h5")
    assert record is not None
    assert record["how"]["paths"] == {"images_h5": "../images.h5"}
    assert record["how"]["gather"] == "c"
