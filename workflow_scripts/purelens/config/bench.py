"""The section of the configuration about the benchmark."""

from typing import Annotated, Any, Literal

from pydantic import Field

from purelens.config.base import Name, Positive, Section

Stage = Literal[
    "decoding",
    "activations",
    "relevances",
    "patches",
    "clustering",
    "explanations",
    "lens",
    "figures",
    "end_to_end",
    "growth",
    "sizes",
]


class BenchStudy(Section):
    """A network on which stages are timed."""

    architecture: str = Field(description="as in models")
    options: dict[str, Any] = Field({}, description="keyword arguments of the architecture")
    weights: str | None = Field(None, description="checkpoint; null: random weights")
    images: str | None = Field(None, description="folder of class folders; null: drawn images")
    size: int = Field(224, ge=8, description="side of the images, in pixels")
    resize: int | None = Field(None, ge=8, description="short side before the center crop, in pixels")
    layer: str = Field(description="layer whose neurons are split")
    layers: list[str] = Field([], description="layers of activations; empty: that layer alone")
    lower_layer: str = Field(description="lower layer of the circuits")
    device: str = Field("auto", description="as at the top")
    batch_size: int | None = Field(None, ge=1, description="batch size of all implementations; null: by device")
    stages: list[Stage] = Field(
        ["decoding", "activations", "relevances", "patches", "clustering", "explanations", "lens", "figures", "sizes"],
        description="stages to time",
    )
    images_counted: Positive = Field(8, description="images of activations, end_to_end and growth")
    decoded_images: Positive = Field(384, description="images of decoding")
    references: Positive = Field(6, description="references of activations and end_to_end")
    circuit_images: Positive = Field(4, description="images, and references of each neuron, of relevances and patches")
    neurons: Positive = Field(10, description="neurons of relevances and end_to_end, each a pair on each image")
    patch_neurons: Positive = Field(3, description="neurons of patches")
    clustered_neurons: Positive = Field(16, description="neurons of clustering, of 100 references each")
    explained_neurons: Positive = Field(512, description="neurons of explanations, by 1,000 concepts on 5,000 images")
    figure_images: Annotated[int, Field(ge=7)] = Field(8, description="references of the neuron that is drawn")


class Bench(Section):
    """The benchmark, ``snakemake bench``."""

    repeats: Annotated[int, Field(ge=5)] = Field(5, description="repeats of each implementation")
    studies: dict[Name, BenchStudy] = Field(
        {
            "resnet50": BenchStudy(
                architecture="torchvision:resnet50", layer="layer4", lower_layer="layer3", batch_size=4,
                layers=["layer1", "layer2", "layer3", "layer4"],
            ),
            "squeezenet": BenchStudy(
                architecture="torchvision:squeezenet1_1", layer="features.12", lower_layer="features.9",
                stages=["growth"], batch_size=4, images_counted=80, neurons=5,
            ),
        },
        description="networks to time, by a name of yours",
    )  # fmt: skip
