"""The section of the configuration that says what is timed."""

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
    """A network that stages are timed on."""

    architecture: str = Field(description="as in models")
    options: dict[str, Any] = Field({}, description="keyword arguments of the architecture")
    weights: str | None = Field(None, description="checkpoint file; null: random weights")
    images: str | None = Field(None, description="folder of class folders of images; null: drawn images")
    size: int = Field(224, ge=8, description="side of the images, in pixels")
    resize: int | None = Field(None, ge=8, description="short side before the center is cut out, in pixels")
    layer: str = Field(description="the layer whose neurons are split")
    layers: list[str] = Field([], description="the layers of activations; empty: that layer alone")
    lower_layer: str = Field(description="the layer of their circuits")
    device: str = Field("auto", description="as above")
    batch_size: int | None = Field(None, ge=1, description="images at a time, of all implementations; null: by device")
    stages: list[Stage] = Field(
        ["decoding", "activations", "relevances", "patches", "clustering", "explanations", "lens", "figures", "sizes"],
        description="what is timed",
    )
    images_counted: Positive = Field(8, description="images of activations, end_to_end and growth")
    decoded_images: Positive = Field(384, description="images of decoding")
    references: Positive = Field(6, description="references of activations and end_to_end")
    circuit_images: Positive = Field(4, description="images, and references of each neuron, of relevances and patches")
    neurons: Positive = Field(10, description="neurons of relevances and end_to_end: so many pairs on each image")
    patch_neurons: Positive = Field(3, description="neurons of patches")
    clustered_neurons: Positive = Field(16, description="neurons of clustering, of 100 references each")
    explained_neurons: Positive = Field(512, description="neurons of explanations, by 1,000 concepts on 5,000 images")
    figure_images: Annotated[int, Field(ge=7)] = Field(8, description="references of the neuron that is drawn")


class Bench(Section):
    """The benchmark, ``snakemake bench``."""

    repeats: Annotated[int, Field(ge=5)] = Field(5, description="turns of each implementation")
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
        description="what is timed, by a name of yours",
    )  # fmt: skip
