"""The section of the configuration that plants neurons whose parts are known."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from purelens.config.base import Section, check_unique


class Planted(Section):
    """The planted benchmark: sums of neurons, to measure whether a split finds them again."""

    layers: Literal["all"] | Annotated[list[str], AfterValidator(check_unique)] = Field(
        [], description="layers to plant neurons in, as MODEL/LAYER, or all; empty: no benchmark"
    )
    pairs: Annotated[int, Field(ge=1, le=1000)] = Field(40, description="pairs of neurons of each kind")
    triples: Annotated[int, Field(ge=0, le=1000)] = Field(24, description="triples of neurons of each kind")
    controls: Annotated[int, Field(ge=0, le=1000)] = Field(64, description="single neurons on images of one class")

    @field_validator("layers", mode="before")
    @classmethod
    def _one_layer(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all" else value
