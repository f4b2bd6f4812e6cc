"""Run stages on the setting of a benchmark. What they are compared with is not imported here."""

from collections.abc import Sequence
from pathlib import Path

from purelens.bench.setting import Setting
from purelens.circuits.activations import activations
from purelens.circuits.patches import Cut, patches
from purelens.circuits.relevances import relevances
from purelens.circuits.tables import Circuits
from purelens.circuits.virtual_neurons import Baselines, virtual_neurons
from purelens.networks.subnetwork import LayerView
from purelens.storage.schemas import SINGLE
from purelens.storage.shards import NO_SHARDS

PUBLISHED_CUT = Cut(crop_rule="published")
CIRCUITS_ONLY = Baselines(activations_baseline=False, random_baseline=False)


def run_activations(
    setting: Setting,
    path: Path,
    n_references: int,
    storage: str = SINGLE,
    shard: str = NO_SHARDS,
    layer: str | None = None,
) -> None:
    """Run the stage ``activations``.

    Parameters
    ----------
    setting, path
        What it runs on, and where the artifact goes.
    n_references, storage, shard
        As in `purelens.circuits.activations.activations`.
    layer
        Name of the layer; None: that of the study.
    """
    view = LayerView(layer) if layer else setting.layer
    execution = setting.execution(shard)
    activations(setting.images_h5, setting.model, str(path), view, n_references, storage=storage, execution=execution)


def run_relevances(setting: Setting, path: Path, storage: str = SINGLE) -> None:
    """Run the stage ``relevances``.

    Parameters
    ----------
    setting, path
        What it runs on, and where the artifact goes.
    storage
        As in `purelens.circuits.relevances.relevances`.
    """
    inputs = (setting.images_h5, setting.model, setting.activations_h5)
    circuits, neurons = Circuits([setting.study.lower_layer]), list[int | str](setting.neurons)
    execution = setting.execution()
    relevances(*inputs, str(path), setting.layer, circuits, neurons, storage=storage, execution=execution)


def run_patches(setting: Setting, path: Path) -> None:
    """Run the stage ``patches``, with the published crop."""
    inputs = (setting.images_h5, setting.model, setting.activations_h5)
    neurons, execution = list[int | str](setting.neurons), setting.execution()
    patches(*inputs, str(path), setting.layer, neurons, cut=PUBLISHED_CUT, execution=execution)


def split(setting: Setting, n_clusters: Sequence[int]) -> None:
    """Run the stage ``virtual_neurons``, on circuits alone."""
    relevances_h5, path = str(setting.folder / "relevances.h5"), str(setting.folder / "virtual_neurons.h5")
    virtual_neurons(relevances_h5, setting.activations_h5, [], path, [], list(n_clusters), baselines=CIRCUITS_ONLY)
