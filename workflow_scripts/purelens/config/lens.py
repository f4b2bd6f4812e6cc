"""The section of the configuration about the second-order lens."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from purelens.config.base import Fraction, Name, Positive, Section
from purelens.errors import listed, nearest


class LensModel(Section):
    """A CLIP under the lens."""

    blocks: list[Annotated[int, Field(ge=0)]] = Field(
        description="blocks whose MLP neurons are read, counted from 0; not the last, which no attention follows",
        min_length=1,
    )
    datasets: list[str] | None = Field(None, description="datasets to read it on; null: all")

    @field_validator("blocks")
    @classmethod
    def _different(cls, blocks: list[int]) -> list[int]:
        return sorted(set(blocks))


class Segmentation(Section):
    """Zero-shot segmentation by neurons."""

    neurons: Positive = Field(
        200, description="neurons of all blocks together: those whose directions are nearest to the class"
    )
    file: str | None = Field(
        None, description="images and masks in ImageNet-Segmentation's format (.mat); null: the dataset's masks, if any"
    )


class Attack(Section):
    """Words by which images of one class are taken for another."""

    renamed: ClassVar[dict[str, str]] = {"shown": "source_class", "taken_for": "target_class"}

    source_class: str = Field(description="name of the class that images show")
    target_class: str = Field(description="name of the class that they are to be taken for")
    avoid: list[str] = Field([], description="words that must not be used, besides target_class")
    images: str | None = Field(None, description="images to score: a folder, .csv or .h5 as of datasets")

    @model_validator(mode="after")
    def _two(self) -> "Attack":
        if not self.source_class.strip() or not self.target_class.strip():
            raise ValueError("source_class and target_class must name classes")
        if self.source_class.casefold().strip() == self.target_class.casefold().strip():
            raise ValueError(f"source_class and target_class are both {self.source_class!r}")
        return self


class Lens(Section):
    """Second-order effects of the neurons of CLIPs. Without models nothing is done."""

    renamed: ClassVar[dict[str, str]] = {
        "significant": "significant_fraction",
        "split_below": "min_explained_variance",
        "n_parts": "n_directions",
    }

    models: dict[Name, LensModel] = Field(
        {}, description="CLIPs to read: embedders with a vision transformer of open_clip"
    )
    texts: str | None = Field(
        None,
        description="texts that describe directions: a .txt or .json list, or a .csv with columns concept and prompt",
    )
    class_templates: list[str] = Field(["{}"], description="prompts of a class; {} is its name", min_length=1)
    words: Positive = Field(32, description="most texts of a direction")
    scaling: Literal["unit", "released"] = Field(
        "unit",
        description="texts of unit length, or components scaled as in the released program, with 100 times its weights",
    )
    top_images: Positive = Field(100, description="images with the largest effects, from which a direction is found")
    significant_fraction: Fraction = Field(
        0.02, description="share of the images on which a neuron's effect counts as significant"
    )
    min_explained_variance: Fraction = Field(
        0.5, description="a neuron whose direction explains less of its largest effects gets several directions"
    )
    n_directions: Annotated[list[Annotated[int, Field(ge=2, le=8)]], Field(min_length=1)] = Field(
        [2, 3, 4, 5], description="numbers of directions that are tried for such a neuron; the best silhouette decides"
    )
    segmentation: Segmentation = Field(Segmentation(), description="zero-shot segmentation")
    attacks: dict[Name, Attack] = Field({}, description="attacks, by a name of yours")
    pipeline: str | None = Field(
        None,
        description="folder of a text-to-image pipeline of diffusers that draws the prompts of attacks; null: none",
    )

    @model_validator(mode="after")
    def _complete(self) -> "Lens":
        if self.models and self.texts is None:
            raise ValueError("models need texts: a .txt, .json or .csv list")
        for template in self.class_templates:
            if "{}" not in template:
                raise ValueError(f"class_templates: {template!r} must contain {{}}, where the name goes")
        if max(self.n_directions) >= self.top_images:
            raise ValueError(
                f"n_directions: {max(self.n_directions)} directions need more images than {self.top_images} (top_images)"
            )
        return self


def check_lens(lens: Lens, sources: Mapping[str, str], datasets: Sequence[str]) -> None:
    """Check that the models of the lens are embedders that it can read, and that their datasets exist.

    Parameters
    ----------
    lens
        The section.
    sources
        Source of each embedder.
    datasets
        Names of the datasets.

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
