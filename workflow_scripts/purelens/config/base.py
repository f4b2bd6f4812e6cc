"""Define what all sections of the configuration share: the base class, names, and types of values."""

import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from purelens.errors import listed

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
NOT_IN_LAYER_NAMES = '/\\?#%{}:*<>|"'
"""Letters that separate folders, links or wildcards."""

LONGEST_NAME = 150
"""Bytes: a file system takes 255, and names get a suffix."""

SUFFIXES = (".h5", ".csv", ".json", ".html", ".png", ".part", ".checkpoint", ".safetensors")
"""Of files in the results."""

RESERVED_NAMES = ("world", "bench", "report", "logs", "benchmarks", "concepts", "image_embeddings", "lens")
"""Folders of the results, which no dataset, model or embedding model may be called."""


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name) or name in RESERVED_NAMES or name.endswith(SUFFIXES) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"{name!r} cannot be a name: letters, digits and _ . + - only, starting with a letter or digit, at most "
            f"{LONGEST_NAME}, none of {', '.join(RESERVED_NAMES)}, and not ending as a file does ({', '.join(SUFFIXES)})"
        )
    return name


def is_there(path: str | Path) -> bool:
    """Tell whether there is a file or folder; a text that can be no path (too long, with a null byte) is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def check_distinct(names: Iterable[str]) -> None:
    """Refuse names that some file systems take for one.

    Raises
    ------
    ValueError
        Naming both.
    """
    seen: dict[str, str] = {}
    for name in names:
        if seen.setdefault(name.lower(), name) != name:
            raise ValueError(
                f"{seen[name.lower()]!r} and {name!r} are one folder where capitals do not count; rename one"
            )


def _check_layer_name(name: str) -> str:
    bad = sorted({letter for letter in name if letter in NOT_IN_LAYER_NAMES or not letter.isprintable()})
    if bad or not name or len(name.encode()) > LONGEST_NAME:
        why = f"it has {listed([repr(letter) for letter in bad])}" if bad else f"1 to {LONGEST_NAME} bytes are allowed"
        raise ValueError(
            f"layer {name!r} cannot be a folder of the results and a link of a page: {why}; rename the module, in a factory of "
            "yours if it comes from a converter"
        )
    return name


def check_unique(values: list[Any]) -> list[Any]:
    """Refuse a list with the same value twice.

    Raises
    ------
    ValueError
        Listing the values.
    """
    if len(set(values)) < len(values):
        raise ValueError(f"the same value twice: {listed(values)}")
    return values


OF_BYTES = "they are of pixels between 0 and 1: divide those of pixels between 0 and 255 by 255"


def _check_mean(mean: tuple[float, ...]) -> tuple[float, ...]:
    if max(map(abs, mean)) > 1:
        raise ValueError(f"means of {listed(mean)}: {OF_BYTES}")
    return mean


def _check_std(std: tuple[float, ...]) -> tuple[float, ...]:
    if min(std) <= 0:
        raise ValueError(f"standard deviations must be above zero, not {listed(std)}")
    if max(std) > 1:
        raise ValueError(f"standard deviations of {listed(std)}: {OF_BYTES}")
    return std


AS_LIST, AS_TEXT = "(list)", "(text)"
"""Where pydantic reports an error in one of two forms of a value: not part of the key."""

LayerName = Annotated[str, AfterValidator(_check_layer_name)]
Colors = tuple[float, float, float]
Mean = Annotated[Colors, AfterValidator(_check_mean)]
Std = Annotated[Colors, AfterValidator(_check_std)]
Name = Annotated[str, AfterValidator(_check_name)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors.

    Attributes
    ----------
    renamed
        Keys of earlier versions, and what they are called now: the error for an old key names the new one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}


def subsection(annotation: Any) -> tuple[type[Section] | None, bool]:
    """Find the section that a field of a section holds.

    Parameters
    ----------
    annotation
        Type of the field.

    Returns
    -------
    section : type or None
        None for a plain value.
    named : bool
        Whether there is one for each of several names, as ``models.NAME``.
    """
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    if typing.get_origin(annotation) is dict:
        value = typing.get_args(annotation)[1]
        if isinstance(value, type) and issubclass(value, Section):
            return value, True
    return None, False


def section_at(root: type[Section], location: typing.Sequence[Any]) -> type[Section]:
    """Follow keys down from a section, as far as they lead to sections.

    Parameters
    ----------
    root
        The section to start from.
    location
        Keys and names, such as ``("models", "resnet50", "layers", "layer4")``.

    Returns
    -------
    type
        The innermost section on the way.
    """
    section, waiting = root, list(location)
    while waiting:
        field = section.model_fields.get(str(waiting.pop(0)))
        inner, named = subsection(field.annotation) if field else (None, False)
        if inner is None or (named and not waiting):
            break
        section, waiting = inner, waiting[1:] if named else waiting
    return section
