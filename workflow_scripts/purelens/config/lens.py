"""The section of the configuration about the second-order lens."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from purelens.config.base import Fraction, Name, Positive, Section
from purelens.errors import listed, nearest


class LensModel(Section):
    """A CLIP under the lens."""

    blocks: list[Annotated[int, Field(ge=0)]] = Field(
        description="blocks whose MLP neurons are read, counted from 0; not the last, after which no attention comes",
        min_length=1,
    )
    datasets: list[str] | None = Field(None, description="datasets to read it on; null: all of them")

    @field_validator("blocks")
    @classmethod
    def _different(cls, blocks: list[int]) -> list[int]:
        return sorted(set(blocks))


class Segmentation(Section):
    """Zero-shot segmentation by neurons."""

    neurons: Positive = Field(
        200, description="how many neurons of all blocks together: those whose directions are nearest to the class"
    )
    file: str | None = Field(
        None,
        description="images and masks in ImageNet-Segmentation's format (.mat); null: the dataset's masks, if it has any",
    )


class Attack(Section):
    """A class that is to be taken for another."""

    shown: str = Field(description="name of the class that is shown")
    taken_for: str = Field(description="name of the class that it is to be taken for")
    avoid: list[str] = Field([], description="words that must not be used, besides the name taken_for")
    images: str | None = Field(None, description="images that are to be scored: a folder, .csv or .h5 as of datasets")

    @model_validator(mode="after")
    def _two(self) -> "Attack":
        if not self.shown.strip() or not self.taken_for.strip():
            raise ValueError("shown and taken_for must name classes")
        if self.shown.casefold().strip() == self.taken_for.casefold().strip():
            raise ValueError(f"shown and taken_for are both {self.shown!r}")
        return self


class Lens(Section):
    """What neurons of CLIPs do to the image embedding. Without models nothing is done."""

    models: dict[Name, LensModel] = Field({}, description="embedders (open_clip vision transformers), by their names")
    texts: str | None = Field(
        None,
        description="a .txt or .json list of texts that directions are written in, or a .csv with columns concept and prompt",
    )
    class_templates: list[str] = Field(
        ["{}"], description="sentences that a class is known by; {} is its name", min_length=1
    )
    words: Positive = Field(32, description="most texts of a direction")
    scaling: Literal["unit", "released"] = Field(
        "unit",
        description="texts of unit length, or components scaled as in the released program, with 100 times its weights",
    )
    top_images: Positive = Field(100, description="images with the largest effects, from which a direction is found")
    significant: Fraction = Field(0.02, description="share of the images on which a neuron's effect is significant")
    split_below: Fraction = Field(
        0.5, description="a neuron whose direction explains less of its largest effects is split by clustering them"
    )
    n_parts: Annotated[list[Annotated[int, Field(ge=2, le=8)]], Field(min_length=1)] = Field(
        [2, 3, 4, 5], description="numbers of parts that are tried; the best silhouette decides"
    )
    segmentation: Segmentation = Field(Segmentation(), description="zero-shot segmentation")
    attacks: dict[Name, Attack] = Field({}, description="classes to be taken for others, by a name of yours")
    pipeline: str | None = Field(
        None,
        description="folder of a text-to-image pipeline of diffusers, which draws the prompts of attacks; null: none is drawn",
    )

    @model_validator(mode="after")
    def _needs(self) -> "Lens":
        if self.models and self.texts is None:
            raise ValueError("models need texts: a .txt, .json or .csv list")
        for template in self.class_templates:
            if "{}" not in template:
                raise ValueError(f"class_templates: {template!r} must contain {{}}, where the name goes")
        if max(self.n_parts) >= self.top_images:
            raise ValueError(f"n_parts: {max(self.n_parts)} parts need more images than {self.top_images} (top_images)")
        return self


def check_lens(lens: Lens, sources: Mapping[str, str], datasets: Sequence[str]) -> None:
    """Check that the models of the lens are embedders that can be read, and that their datasets are there.

    Raises
    ------
    ValueError
        Naming the key.
    """
    for name, model in lens.models.items():
        if name not in sources:
            raise ValueError(f"lens.models: no embedder {name!r}{nearest(name, sources)}; there are {listed(sources)}")
        if sources[name] != "open_clip":
            raise ValueError(f"lens.models.{name}: embedder {name!r} is of source {sources[name]!r}, not 'open_clip'")
        for dataset in model.datasets or []:
            if dataset not in datasets:
                raise ValueError(f"lens.models.{name}.datasets: no dataset {dataset!r}{nearest(dataset, datasets)}")
