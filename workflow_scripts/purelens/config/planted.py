"""The sections of the configuration that concern some layers: planted neurons, and dictionaries of activations."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from purelens.config.base import Section, check_unique

MOST_VECTORS = 65_536
"""Activation vectors that dictionaries are learned from: as many as fit in memory, whatever the number of images."""


class SomeLayers(Section):
    """What is made for some layers of a study."""

    layers: Literal["all"] | Annotated[list[str], AfterValidator(check_unique)] = Field(
        [], description="layers that it is made for, as MODEL/LAYER, or all; empty: none"
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _one_layer(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all" else value


class Planted(SomeLayers):
    """The planted benchmark: sums of neurons, to measure whether a split finds them again."""

    pairs: Annotated[int, Field(ge=1, le=1000)] = Field(40, description="pairs of neurons of each kind")
    triples: Annotated[int, Field(ge=0, le=1000)] = Field(24, description="triples of neurons of each kind")
    controls: Annotated[int, Field(ge=0, le=1000)] = Field(64, description="single neurons on images of one class")


class Dictionaries(SomeLayers):
    """Dictionaries of a layer's activations, to compare virtual neurons with: by NMF, and by a sparse autoencoder."""

    latents: Annotated[int, Field(ge=2, le=16384)] = Field(128, description="latents of each dictionary")
    active: Annotated[int, Field(ge=1, le=1024)] = Field(
        8, description="latents that the sparse autoencoder makes a vector of"
    )
