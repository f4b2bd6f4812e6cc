"""The contests of the stages that run the network."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from purelens.bench import definitions, floors, published
from purelens.bench.comparison import Contest
from purelens.bench.published_figure import published_figure
from purelens.bench.runs import run_activations, run_patches, run_relevances, split
from purelens.bench.setting import References, Setting, pictures_of
from purelens.circuits.projections import projections
from purelens.config.bench import BenchStudy
from purelens.data.dataset import dataset
from purelens.data.images import Geometry, open_source
from purelens.figures.neuron_figures import neuron_figures


def contest_decoding(study: BenchStudy, folder: Path, n_workers: int, seed: int) -> Contest:
    """Decode and resize the images: the stage `dataset` against PIL in as many processes as cores."""
    source = pictures_of(study, folder / "source", study.decoded_images, seed)
    geometry = Geometry(study.size, study.resize or study.size, "bilinear", 8)
    n_images = open_source(str(source)).n_images
    path = folder / "images.h5"

    def by_purelens() -> Path:
        dataset(str(source), str(path), study.size, study.resize, threads=n_workers)
        return path

    decode = _Decode(source, geometry)

    def in_processes() -> None:
        with get_context("fork").Pool(n_workers) as pool:
            pool.map(decode.forget, range(n_images), chunksize=8)
            pool.close()
            pool.join()

    ways: dict[str, Callable[[], Any]] = {
        "definition": lambda: np.stack([decode(number) for number in range(n_images)]),
        "purelens": by_purelens,
        "floor": in_processes,
    }
    return Contest("decoding", ways, _pixels_apart, "largest difference of a pixel", size={"images": n_images})


def _pixels_apart(found: Path, expected: np.ndarray) -> float:
    """Largest difference of a pixel in an artifact from those expected."""
    with h5py.File(found) as file:
        return _largest_difference(file["pixels"][...], expected)


class _Decode:
    """Decode one image of a folder; can be sent to a process."""

    def __init__(self, folder: Path, geometry: Geometry) -> None:
        self._source, self._geometry = open_source(str(folder)), geometry

    def __call__(self, number: int) -> np.ndarray:
        return self._geometry.apply(self._source.load(number))

    def forget(self, number: int) -> None:
        """Decode it and send nothing back."""
        self(number)


def contest_activations(setting: Setting, n_references: int) -> Contest:
    """Find the references and the pooled values of all neurons of all layers."""
    layers, folder = setting.layers, setting.folder / "collected"
    return Contest(
        "activations",
        {
            "definition": lambda: definitions.references(setting, n_references, layers),
            "published": lambda: published.references(setting, folder, n_references, layers),
            "purelens": lambda: [_references_of(setting, layer, n_references) for layer in layers],
            "floor": floors.bare_forward(setting),
        },
        _references_apart,
        "largest difference of a value or mean, or of what the definition finds on a reference's image, to the largest",
        size={"images": len(setting.pixels()), "references": n_references, "layers": len(layers)},
    )


def contest_one_layer(setting: Setting, n_references: int) -> Contest:
    """The same for the last layer alone, against its floor."""
    return Contest(
        "activations_one_layer",
        {
            "purelens": lambda: _references_of(setting, setting.study.layer, n_references),
            "floor": floors.bare_forward(setting),
        },
        size={"images": len(setting.pixels()), "references": n_references, "layers": 1},
    )


def _references_of(setting: Setting, layer: str, n_references: int) -> References:
    """Run the stage `activations`."""
    path = setting.folder / "contest_activations.h5"
    run_activations(setting, path, n_references, layer=layer)
    with h5py.File(path) as file:
        names = ("reference_id", "reference_value", "max", "mean")
        return References(*(file[name][...] for name in names))


def contest_relevances(setting: Setting) -> Contest:
    """Attribute the neurons to the lower layer."""

    def by_purelens() -> np.ndarray:
        path = setting.folder / "contest_relevances.h5"
        run_relevances(setting, path)
        return _relevances_in(setting, path)

    return Contest(
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


def contest_patches(setting: Setting) -> Contest:
    """Locate the patches."""
    n_references = setting.pairs().reference_id.shape[1]
    collected = setting.folder / "collected"
    published.references(setting, collected, n_references, [setting.study.layer])

    def by_purelens() -> np.ndarray:
        path = setting.folder / "contest_patches.h5"
        run_patches(setting, path)
        with h5py.File(path) as file:
            return file["box"][...]

    return Contest(
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


def contest_end_to_end(setting: Setting) -> Contest:
    """References, circuits, patches and virtual neurons, without an embedder."""
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

    ways = {"published": as_published, "purelens": by_purelens}
    parity_is = "largest difference of a relevance, relative to the largest"
    return Contest("end_to_end", ways, _relative_difference, parity_is, "published", _size(setting))


def contest_figures(setting: Setting) -> Contest:
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
        artifacts = (setting.inputs[0], patches_h5, virtual_neurons_h5, projections_h5)
        drawn = (str(setting.folder / "figures"), str(setting.folder / "figures.html"))
        neuron_figures(*artifacts, *drawn, "bench", [*setting.neurons], n_references)

    ways: dict[str, Callable[[], Any]] = {
        "published": lambda: published_figure(setting, collected, n_references, relevances_h5),
        "purelens": by_purelens,
    }
    by_purelens()  # UMAP compiles itself at its first use
    return Contest("figures", ways, size=_size(setting))


def _relevances_in(setting: Setting, path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file[f"relevance/{setting.study.lower_layer}"][...]


def _size(setting: Setting) -> dict[str, int]:
    pairs = setting.pairs()
    return {"images": len(pairs.by_image()), "pairs": int((pairs.reference_id >= 0).sum())}


def _largest_difference(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found.astype(float) - wanted.astype(float)).max())


def _relative_difference(found: np.ndarray, wanted: np.ndarray) -> float:
    return _largest_difference(found, wanted) / float(np.abs(wanted).max())


def _references_apart(found: Sequence[References], wanted: Sequence[References]) -> float:
    """The largest difference of all layers; images of equal value may come in any order."""
    return max(_apart_in_a_layer(*layers) for layers in zip(found, wanted, strict=True))


def _apart_in_a_layer(found: References, wanted: References) -> float:
    assert wanted.largest is not None
    assert wanted.mean is not None
    looked_up = np.take_along_axis(wanted.largest.T, np.maximum(found.ids, 0), axis=1)
    apart = [
        _relative_difference(np.maximum(found.values, 0), wanted.values),
        _relative_difference(np.where(found.ids >= 0, np.maximum(looked_up, 0), 0), wanted.values),
    ]
    if found.largest is not None and found.mean is not None:
        apart.append(_relative_difference(found.largest, wanted.largest))
        apart.append(_relative_difference(found.mean, wanted.mean))
    return max(apart)


def _equal_boxes(found: Any, wanted: Any) -> float:
    return float((torch.as_tensor(np.asarray(found)) == torch.as_tensor(np.asarray(wanted))).all(dim=-1).float().mean())
