"""Synthetic neurons that labels explain, and the stages of explanations on them."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from purelens.explanations.concepts import concepts
from purelens.explanations.explain import explain
from purelens.explanations.simulate import simulate
from purelens.numerics.bootstrap import Intervals
from purelens.storage.artifacts import create
from purelens.storage.reading import strings

CONCEPTS = ["red", "nan", "a <b>", "rare", "never", "everywhere"]


N_IMAGES = 400


CONSTANT, DEAD, SUM, SINGLE, NOISE = range(5)


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
    paths = (str(at / "scores.csv"), str(at / "summary.csv"), str(at / "virtual.csv"))
    simulate(
        str(folder / "activations.h5"), str(at / "explanations.h5"), str(at / "labels.h5"), [], *paths, Intervals()
    )
    return pd.read_csv(paths[0], keep_default_na=False, na_values=[""])


def explanation(path: Path, method: str, neuron: int) -> dict[str, float]:
    with h5py.File(path) as file:
        place = strings(file["method"]).index(method)
        names, numbers = strings(file["concept_label"]), file["concept_number"][place, neuron]
        return {names[n]: w for n, w in zip(numbers, file["weight"][place, neuron], strict=True) if n >= 0}
