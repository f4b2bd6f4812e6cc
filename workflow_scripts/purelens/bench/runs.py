"""The stages, run on a benchmark's setting; what they are compared with is not imported here."""

from collections.abc import Sequence
from pathlib import Path

from purelens.bench.setting import Setting
from purelens.circuits.activations import activations
from purelens.circuits.patches import patches
from purelens.circuits.relevances import relevances
from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.storage.artifacts import SINGLE
from purelens.storage.shards import WHOLE


def run_activations(
    setting: Setting,
    path: Path,
    n_references: int,
    storage: str = SINGLE,
    shard: str = WHOLE,
    layer: str | None = None,
) -> None:
    """The stage `activations`, of the study's layer or of another."""
    study = setting.study
    activations(
        *setting.inputs,
        str(path),
        layer or study.layer,
        n_references,
        device=study.device,
        batch_size=setting.batch_size,
        shard=shard,
        storage=storage,
    )


def run_relevances(setting: Setting, path: Path, storage: str = SINGLE) -> None:
    """The stage `relevances`."""
    study, neurons = setting.study, list[int | str](setting.neurons)
    inputs = (*setting.inputs, setting.activations_h5)
    relevances(
        *inputs,
        str(path),
        study.layer,
        [study.lower_layer],
        neurons,
        device=study.device,
        batch_size=setting.batch_size,
        storage=storage,
    )


def run_patches(setting: Setting, path: Path) -> None:
    """The stage `patches`, with the published crop."""
    study, neurons = setting.study, list[int | str](setting.neurons)
    inputs = (*setting.inputs, setting.activations_h5)
    patches(
        *inputs,
        str(path),
        study.layer,
        neurons,
        crop_rule="published",
        device=study.device,
        batch_size=setting.batch_size,
    )


def split(setting: Setting, ks: Sequence[int]) -> None:
    """The stage `virtual_neurons`, by circuits alone."""
    virtual_neurons(
        str(setting.folder / "relevances.h5"), setting.activations_h5, [], str(setting.folder / "virtual_neurons.h5"),
        [], list(ks), activations_baseline=False, random_baseline=False,
    )  # fmt: skip
