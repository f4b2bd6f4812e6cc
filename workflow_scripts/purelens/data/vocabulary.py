"""Read concept lists, superclasses and imported explanations from files of the user's."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from purelens.data.tables import read_rows
from purelens.errors import UserError, nearest
from purelens.storage.files import read_text

FEWEST_TEXTS = 2
"""A direction is decomposed into texts centered by their mean: a single text would be zero."""


@dataclass(frozen=True)
class Texts:
    """Names of concepts, and the prompts by which a language model knows them."""

    names: list[str]
    prompts: list[str]


def read_texts(path: str, template: str = "{}") -> Texts:
    """Read a concept list.

    Parameters
    ----------
    path
        A ``.txt`` file with a concept in each line, a ``.json`` list, or a ``.csv`` table with a column ``concept`` and, if
        prompts are not made by the template, ``prompt``. Repeats are read once; empty lines are left out.
    template
        Prompt of a concept without one of its own; ``{}`` is the concept.

    Raises
    ------
    UserError
        If the file cannot be read or lists nothing.
    """
    try:
        rows = _rows(Path(path))
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"concepts: cannot read {path}: {' '.join(str(error).split())}") from None
    first: dict[str, str] = {}
    for name, prompt in rows:
        if name.strip():
            first.setdefault(name.strip(), prompt or template.replace("{}", name.strip()))
    if not first:
        raise UserError(f"concepts: {path} lists no concepts")
    return Texts(list(first), list(first.values()))


def _rows(path: Path) -> list[tuple[str, str]]:
    if path.suffix.lower() == ".csv":
        return [(row["concept"], row.get("prompt", "")) for _, row in read_rows(path, ["concept"], ["prompt"])]
    text = read_text(path)
    if path.suffix.lower() == ".json":
        values = json.loads(text)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError("expected a list of texts")
        return [(value, "") for value in values]
    return [(line, "") for line in text.split("\n")]


def read_superclasses(path: str, classes: Sequence[str]) -> dict[str, list[int]]:
    """Read superclasses: a ``.json`` file that maps a name to names of classes.

    Parameters
    ----------
    path
        The file.
    classes
        Names of the dataset's classes.

    Returns
    -------
    dict
        Numbers of the classes of each superclass, by its name.

    Raises
    ------
    UserError
        If the file is something else, or a class is not in the dataset.
    """
    try:
        values = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"concepts: cannot read {path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not all(_is_list_of_texts(members) for members in values.values()):
        raise UserError(f"concepts: {path} must map names to lists of classes")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(classes):
        places.setdefault(name, []).append(place)
    superclasses = {}
    for name, members in values.items():
        unknown = [member for member in members if member not in places]
        if unknown:
            close = nearest(str(unknown[0]), list(classes))
            raise UserError(f"concepts: {path}: {name!r} lists {unknown[0]!r}, which is no class of the dataset{close}")
        superclasses[name] = [place for member in members for place in places[member]]
    return superclasses


def _is_list_of_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


@dataclass(frozen=True)
class ImportedExplanation:
    """An explanation by another program: names of concepts (m,) and their weights (m,)."""

    names: list[str]
    weights: np.ndarray


def read_imported(path: str) -> dict[int, ImportedExplanation]:
    """Read imported explanations: a ``.csv`` table with the columns ``neuron``, ``concept`` and, if there is one, ``weight``.

    Raises
    ------
    UserError
        Naming the line that is wrong.
    """
    try:
        rows = read_rows(Path(path), ["neuron", "concept"], ["weight"])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"explanations: cannot read {path}: {error}") from None
    weights_of: dict[int, dict[str, float]] = {}
    for line, row in rows:
        where = f"explanations: {path}, line {line}"
        neuron, weight = _numbers_of(row, where)
        concept = row["concept"]
        if concept in weights_of.get(neuron, {}):
            raise UserError(f"{where}: neuron {neuron} has the concept {concept!r} already")
        if concept:
            weights_of.setdefault(neuron, {})[concept] = weight
    return {neuron: _explanation(weights) for neuron, weights in weights_of.items()}


def _numbers_of(row: Mapping[str, str], where: str) -> tuple[int, float]:
    """Neuron and weight of a row."""
    neuron = row["neuron"]
    try:
        weight = float(row.get("weight") or 1)
    except ValueError:
        weight = math.nan
    if not (neuron.isascii() and neuron.isdecimal()) or not math.isfinite(weight):
        raise UserError(f"{where}: neuron and weight must be numbers, not {row['neuron']!r} and {row.get('weight')!r}")
    return int(neuron), weight


def _explanation(weights: Mapping[str, float]) -> ImportedExplanation:
    return ImportedExplanation(list(weights), np.array(list(weights.values())))
