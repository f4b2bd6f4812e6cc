"""What all sections of the configuration are made of."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from purelens.errors import listed

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
RESERVED_NAMES = ("world", "bench", "report", "logs", "benchmarks", "concepts", "image_embeddings", "lens")


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise ValueError(
            f"{name!r} cannot be a name: letters, digits and _ . + - only, starting with a letter or digit, "
            f"and none of {', '.join(RESERVED_NAMES)}"
        )
    return name


def check_unique(values: list[Any]) -> list[Any]:
    """Refuse a list with the same value twice."""
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
    """A part of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
