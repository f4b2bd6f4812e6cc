"""Define what all sections of the configuration share: the base class, names, and types of values."""

import re
import typing
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from purelens.errors import listed

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
RESERVED_NAMES = ("world", "bench", "report", "logs", "benchmarks", "concepts", "image_embeddings", "lens")
"""Folders of the results, which no dataset, model or embedding model may be called."""


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise ValueError(
            f"{name!r} cannot be a name: letters, digits and _ . + - only, starting with a letter or digit, "
            f"and none of {', '.join(RESERVED_NAMES)}"
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


def _check_std(std: tuple[float, ...]) -> tuple[float, ...]:
    if min(std) <= 0:
        raise ValueError(f"standard deviations must be above zero, not {listed(std)}")
    return std


Colors = tuple[float, float, float]
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

    model_config = ConfigDict(extra="forbid", frozen=True)
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
