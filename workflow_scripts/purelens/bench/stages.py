"""Compare implementations of the stages that run the network."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from purelens.bench import definitions, floors, published
from purelens.bench.comparison import Comparison
from purelens.bench.published_figure import published_figure
from purelens.bench.runs import run_activations, run_patches, run_relevances, split
from purelens.bench.setting import ReferenceResult, Setting, pictures_of
from purelens.circuits.projections import projections
from purelens.config.bench import BenchStudy
from purelens.data.dataset import dataset
from purelens.data.images import Geometry
from purelens.data.sources import open_source
from purelens.figures.neuron_figures import neuron_figures
from purelens.storage.provenance import Execution
from purelens.storage.reading import read


def compare_decoding(study: BenchStudy, folder: Path, n_workers: int, seed: int) -> Comparison:
    """Decode and resize images: the stage ``dataset`` against PIL in as many processes as threads.

    Parameters
    ----------
    study
        The configuration.
    folder
        Where images and artifacts go.
    n_workers, seed
        Threads and processes, and the seed of drawn images.

    Returns
    -------
    Comparison
        Times and differences of the implementations.
    """
    source = pictures_of(study, folder / "source", study.decoded_images, seed)
    geometry = Geometry(study.size, study.resize or study.size, "bilinear", 8)
    n_images = open_source(str(source)).n_images
    path = folder / "images.h5"

    def by_purelens() -> Path:
        dataset(str(source), str(path), study.size, study.resize, execution=Execution(threads=n_workers))
        return path

    decode = _Decode(source, geometry)

    def in_processes() -> None:
        with get_context("fork").Pool(n_workers) as pool:
            pool.map(decode.forget, range(n_images), chunksize=8)
            pool.close()
            pool.join()

    implementations: dict[str, Callable[[], Any]] = {
        "definition": lambda: np.stack([decode(number) for number in range(n_images)]),
        "purelens": by_purelens,
        "floor": in_processes,
    }
    return Comparison(
        "decoding", implementations, _pixel_difference, "largest difference of a pixel", size={"images": n_images}
    )


def _pixel_difference(images_h5: Path, expected: np.ndarray) -> float:
    """Return the largest difference of a pixel in an artifact from the expected one."""
    with read(images_h5, "dataset") as file:
        return _largest_difference(file["pixels"][...], expected)


class _Decode:
    """Decode one image of a folder; picklable, so that processes can use it."""

    def __init__(self, folder: Path, geometry: Geometry) -> None:
        self._source, self._geometry = open_source(str(folder)), geometry

    def __call__(self, number: int) -> np.ndarray:
        return self._geometry.apply(self._source.load(number))

    def forget(self, number: int) -> None:
        """Decode an image and return nothing, which no process has to send."""
        self(number)


def compare_activations(setting: Setting, n_references: int) -> Comparison:
    """Find the references and pooled activations of all neurons of all layers."""
    layers, folder = setting.layers, setting.folder / "collected"
    return Comparison(
        "activations",
        {
            "definition": lambda: definitions.references(setting, n_references, layers),
            "published": lambda: published.references(setting, folder, n_references, layers),
            "purelens": lambda: [_references_of(setting, layer, n_references) for layer in layers],
            "floor": floors.bare_forward(setting),
        },
        _references_difference,
        "largest difference of a value, a mean, or the definition's value on a reference, relative to the largest",
        size={"images": len(setting.pixels()), "references": n_references, "layers": len(layers)},
    )


def compare_one_layer(setting: Setting, n_references: int) -> Comparison:
    """Find the references of the studied layer alone, against the floor."""
    return Comparison(
        "activations_one_layer",
        {
            "purelens": lambda: _references_of(setting, setting.study.layer, n_references),
            "floor": floors.bare_forward(setting),
        },
        size={"images": len(setting.pixels()), "references": n_references, "layers": 1},
    )


def _references_of(setting: Setting, layer: str, n_references: int) -> ReferenceResult:
    """Run the stage ``activations`` and read its result."""
    path = setting.folder / "compared_activations.h5"
    run_activations(setting, path, n_references, layer=layer)
    with read(path, "activations") as file:
        names = ("reference_id", "reference_value", "max", "mean")
        return ReferenceResult(*(file[name][...] for name in names))


def compare_relevances(setting: Setting) -> Comparison:
    """Attribute neurons to the lower layer."""

    def by_purelens() -> np.ndarray:
        path = setting.folder / "compared_relevances.h5"
        run_relevances(setting, path)
        return _relevances_in(setting, path)

    return Comparison(
        "relevances",
        {
            "definition": lambda: definitions.relevances(setting),
            "published": lambda: published.relevances(setting),
            "purelens": by_purelens,
            "floor": floors.segment_gradients(setting),
        },
        _relative_difference,
        "largest difference, relative to the largest relevance",
        size=_size(setting),
    )


def compare_patches(setting: Setting) -> Comparison:
    """Locate patches."""
    n_references = setting.pairs().reference_id.shape[1]
    collected = setting.folder / "collected"
    published.references(setting, collected, n_references, [setting.study.layer])

    def by_purelens() -> np.ndarray:
        path = setting.folder / "compared_patches.h5"
        run_patches(setting, path)
        with read(path, "patches") as file:
            return file["box"][...]

    return Comparison(
        "patches",
        {
            "definition": lambda: definitions.boxes(setting),
            "published": lambda: published.patches(setting, collected, setting.neurons, n_references, published.crops),
            "purelens": by_purelens,
            "floor": floors.one_branch_backward(setting),
        },
        _equal_boxes,
        "share of equal boxes",
        size=_size(setting),
    )


def compare_end_to_end(setting: Setting) -> Comparison:
    """Run everything from references to virtual neurons, without an embedding model."""
    n_references = setting.pairs().reference_id.shape[1]
    folder = setting.folder / "collected"

    def as_published() -> np.ndarray:
        published.references(setting, folder, n_references, [setting.study.layer])
        vectors = published.relevances(setting)
        published.patches(setting, folder, setting.neurons, n_references, published.crops)
        for k in (2, 3):
            for of_neuron in vectors:
                definitions.clusters.split(of_neuron, k)
        return vectors

    def by_purelens() -> np.ndarray:
        run_activations(setting, Path(setting.activations_h5), n_references)
        run_relevances(setting, setting.folder / "relevances.h5")
        run_patches(setting, setting.folder / "patches.h5")
        split(setting, [2, 3])
        return _relevances_in(setting, setting.folder / "relevances.h5")

    implementations = {"published": as_published, "purelens": by_purelens}
    metric = "largest difference of a relevance, relative to the largest"
    return Comparison("end_to_end", implementations, _relative_difference, metric, "published", _size(setting))


def compare_figures(setting: Setting) -> Comparison:
    """Draw the virtual neurons of one neuron."""
    n_references = setting.pairs().reference_id.shape[1]
    collected = setting.folder / "collected"
    published.references(setting, collected, n_references, [setting.study.layer])
    run_relevances(setting, setting.folder / "relevances.h5")
    run_patches(setting, setting.folder / "patches.h5")
    split(setting, [2])
    patches_h5, relevances_h5, virtual_neurons_h5, projections_h5 = (
        str(setting.folder / f"{name}.h5") for name in ("patches", "relevances", "virtual_neurons", "projections")
    )

    def by_purelens() -> None:
        projections(relevances_h5, projections_h5, setting.study.lower_layer)
        artifacts = (setting.images_h5, patches_h5, virtual_neurons_h5, projections_h5)
        drawn = (str(setting.folder / "figures"), str(setting.folder / "figures.html"))
        neuron_figures(*artifacts, *drawn, "bench", [*setting.neurons], n_references)

    implementations: dict[str, Callable[[], Any]] = {
        "published": lambda: published_figure(setting, collected, n_references, relevances_h5),
        "purelens": by_purelens,
    }
    by_purelens()  # UMAP compiles its functions at the first call
    return Comparison("figures", implementations, size=_size(setting))


def _relevances_in(setting: Setting, path: Path) -> np.ndarray:
    with read(path, "relevances") as file:
        return file[f"relevance/{setting.study.lower_layer}"][...]


def _size(setting: Setting) -> dict[str, int]:
    pairs = setting.pairs()
    return {"images": len(pairs.by_image()), "pairs": int((pairs.reference_id >= 0).sum())}


def _largest_difference(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(result.astype(float) - expected.astype(float)).max())


def _relative_difference(result: np.ndarray, expected: np.ndarray) -> float:
    return _largest_difference(result, expected) / float(np.abs(expected).max())


def _references_difference(result: Sequence[ReferenceResult], expected: Sequence[ReferenceResult]) -> float:
    """Return the largest difference of all layers; images with equal values may come in any order."""
    return max(_layer_difference(*layers) for layers in zip(result, expected, strict=True))


def _layer_difference(result: ReferenceResult, expected: ReferenceResult) -> float:
    assert expected.largest is not None
    assert expected.mean is not None
    on_references = np.take_along_axis(expected.largest.T, np.maximum(result.ids, 0), axis=1)
    differences = [
        _relative_difference(np.maximum(result.values, 0), expected.values),
        _relative_difference(np.where(result.ids >= 0, np.maximum(on_references, 0), 0), expected.values),
    ]
    if result.largest is not None and result.mean is not None:
        differences.append(_relative_difference(result.largest, expected.largest))
        differences.append(_relative_difference(result.mean, expected.mean))
    return max(differences)


def _equal_boxes(result: Any, expected: Any) -> float:
    equal = torch.as_tensor(np.asarray(result)) == torch.as_tensor(np.asarray(expected))
    return float(equal.all(dim=-1).float().mean())
