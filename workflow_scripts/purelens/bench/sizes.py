"""Measure the sizes of the artifacts of a layer on a few images and neurons, and extrapolate them to full size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purelens.bench.runs import run_activations, run_patches, run_relevances, split
from purelens.bench.setting import prepare
from purelens.config.bench import BenchStudy
from purelens.storage.reading import Artifact, read
from purelens.storage.schemas import HALF

FULL_IMAGES, FULL_REFERENCES = 50_000, 100
EMBEDDERS, COMPONENTS = 2, 768
"""The published study embeds with CLIP and DINOv2."""
IMAGES, NEURONS, REFERENCES = 24, 6, 12
KS = (2, 3, 4, 5)


def measure_sizes(study: BenchStudy, name: str, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Measure the bytes of each artifact per element of its dimensions, and extrapolate them to 50,000 images.

    Parameters
    ----------
    study, name
        The study, and its name for the record.
    folder, seed
        Where the artifacts go, and the seed of random images and weights.

    Returns
    -------
    list
        For each artifact its ``bytes``, the bytes of its ``data`` with their checksums, and the ``full_bytes`` of all neurons
        of the layer, 50,000 images and 100 references. The embeddings of two models, with 768 components each, are added.
    """
    setting = prepare(study, folder, IMAGES, NEURONS, REFERENCES, seed)
    run_activations(setting, Path(setting.activations_h5), REFERENCES, HALF)
    run_relevances(setting, folder / "relevances.h5", HALF)
    run_patches(setting, folder / "patches.h5")
    split(setting, KS)
    with read(setting.activations_h5, "activations") as file:
        n_neurons = len(file["neuron"])
        bytes_of_table = file["mean"].dtype.itemsize
    records = []
    for artifact in ("activations", "relevances", "patches", "virtual_neurons"):
        path = folder / f"{artifact}.h5"
        with read(path, artifact) as file:
            data = sum(file[variable].size + file[variable].checksum_size for variable in file.variables)
            full = sum(_full(file, variable, n_neurons) for variable in file.variables)
        records.append(_record(name, artifact, path.stat().st_size, data, full))
    embeddings = EMBEDDERS * n_neurons * FULL_REFERENCES * COMPONENTS * bytes_of_table
    return [*records, _record(name, "embeddings", 0, 0, embeddings)]


def _record(study: str, artifact: str, n_bytes: int, data: int, full: int) -> dict[str, Any]:
    return {"study": study, "artifact": artifact, "bytes": n_bytes, "data": data, "full_bytes": full}


def _full(file: Artifact, variable: str, n_neurons: int) -> int:
    """Extrapolate the bytes of a variable in the file to full numbers of images, neurons and references."""
    full: Mapping[str, int] = {"image": FULL_IMAGES, "neuron": n_neurons, "reference": FULL_REFERENCES}
    table = file[variable]
    times = 1.0
    for dim, length in zip(table.dims, table.shape, strict=True):
        times *= full.get(dim, length) / length
    return round(times * table.stored_size)
