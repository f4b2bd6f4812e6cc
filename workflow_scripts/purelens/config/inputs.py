"""The sections of the configuration that name images, networks and embedding models."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from purelens.config.base import AS_LIST, AS_TEXT, LayerName, Mean, Positive, Section, Std, check_unique, is_there
from purelens.errors import listed


class World(Section):
    """The embedded world: drawn scenes and two small networks trained on them, made where a path of the study names them."""

    train_scenes: int = Field(10000, ge=100, description="scenes that the two networks are trained on")
    probe_scenes: int = Field(2000, ge=16, description="scenes that the study looks at; none is a training scene")
    test_scenes: int = Field(
        1000, ge=16, description="scenes on which the accuracies are measured; in neither other set"
    )
    cnn_epochs: Positive = Field(3, description="epochs of the residual CNN")
    clip_epochs: Positive = Field(3, description="epochs of the CLIP")


class Dataset(Section):
    """The images that neurons are probed with. Each is decoded once."""

    images: str = Field(
        description="folder of class folders, a .csv with a path and a label per image, or an .h5 file of images"
    )
    size: int = Field(224, ge=8, description="side of the center crop that the models see, in pixels")
    resize: int | None = Field(None, ge=8, description="short side before the crop, in pixels; null: equal to size")
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="interpolation of the resizing")
    min_side: Positive = Field(8, description="images with a shorter side are rejected, in pixels")
    on_bad_image: Literal["reject", "error"] = Field(
        "reject", description="what an unreadable image does: it is listed and left out, or it stops the run"
    )

    @model_validator(mode="after")
    def _resize_covers_crop(self) -> "Dataset":
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) must be at least size ({self.size})")
        return self


STAGE = "stage"
"""Instead of a list of lower layers: those of the stage that the layer ends."""


ListOfLayers = Annotated[list[LayerName], Field(min_length=1), AfterValidator(check_unique)]
LowerLayers = Annotated[
    Annotated[ListOfLayers, Tag(AS_LIST)] | Annotated[Literal["stage"], Tag(AS_TEXT)],
    Discriminator(lambda value: AS_TEXT if isinstance(value, str) else AS_LIST),
]


class Layer(Section):
    """A layer whose neurons are studied."""

    lower_layers: LowerLayers | None = Field(
        None,
        description="lower layers that circuits are attributed to: a list; stage: the blocks between the last change of "
        "resolution and the layer, the units inside them, and the input of the lowest; null: the block before",
    )
    neurons: Literal["all"] | list[int | str] = Field(
        "all", description="neurons to study: all, or a list of numbers and ranges such as [0, 7, '16-31']"
    )
    channels: Literal["auto", "first", "last"] = Field(
        "auto",
        description="dimension of the neurons in the layer's output: first (after the batch), last, or auto: found from the "
        "kind of the layer and the shapes of its outputs",
    )
    lower_channels: dict[LayerName, Literal["first", "last"]] = Field(
        {}, description="the same for lower layers, by name, where it is not found"
    )

    @field_validator("neurons", mode="before")
    @classmethod
    def _one_neuron_or_range(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | str) and value != "all" else value


class Model(Section):
    """A network, and the layers of it that are studied."""

    architecture: str = Field(
        description="'torchvision:NAME', 'timm:NAME', or 'path/to/file.py:factory' for a network of your own"
    )
    options: dict[str, Any] = Field({}, description="keyword arguments of the architecture, e.g. {num_classes: 10}")
    weights: str = Field("published", description="'published', 'random', or a .safetensors, .pth or .pt file")
    mean: Mean | None = Field(
        None, description="mean of the input per color; null: that of the published weights, else ImageNet's"
    )
    std: Std | None = Field(None, description="standard deviation of the input per color; null: as for mean")
    datasets: list[str] | None = Field(None, description="datasets to study it on; null: all", min_length=1)
    layers: dict[LayerName, Layer] = Field(description="layers to study, by module name", min_length=1)
    attribution: Literal["lrp", "gradient"] = Field(
        "lrp",
        description="attribution to pixels, to locate patches: LRP, or input x gradient where LRP has no rules (transformers)",
    )

    @model_validator(mode="after")
    def _weights_exist(self) -> "Model":
        published = self.architecture.startswith(("torchvision:", "timm:"))
        if self.weights == "published" and not published:
            raise ValueError(f"weights: nothing is published for {self.architecture!r}; give a file, or 'random'")
        if self.weights not in ("published", "random") and not names_a_file(self.weights):
            raise ValueError(f"weights: {self.weights!r} is neither 'published' nor 'random' nor a file")
        return self

    @model_validator(mode="before")
    @classmethod
    def _layers_without_options(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("layers"), dict):
            layers = {name: {} if layer is None else layer for name, layer in values["layers"].items()}
            return {**values, "layers": layers}
        return values


FOLDER = "local-dir:"
"""What the name of a model in a folder begins with."""

SCHEMES = ("hf-hub:", "hf_hub:", FOLDER)
"""What names of timm and open_clip begin with that are those of a hub or folder."""


def names_a_file(weights: str) -> bool:
    """Tell whether weights are a path: with a suffix or a folder, or simply there."""
    return bool(Path(weights).suffix) or "/" in weights or is_there(weights)


EMBEDDING_FILES = (".npy", ".safetensors", ".h5", ".hdf5")
"""Suffixes of files of embeddings."""

USED_BY = {
    "open_clip": {"source", "architecture", "weights", "output", "patches"},
    "timm": {"source", "architecture", "options", "weights", "output", "patches", "size"},
    "network": {"source", "architecture", "options", "weights", "layer", "patches", "size", "mean", "std"},
    "file": {"source", "weights", "patches"},
}
"""Keys that each source of embeddings uses."""


class Embedder(Section):
    """An embedding model, or a file of embeddings."""

    source: Literal["open_clip", "timm", "network", "file"] = Field(
        description="an open_clip model, a timm model, any architecture as under models, or a file with a row per image"
    )
    architecture: str | None = Field(
        None, description="open_clip or timm name, a .json model config of open_clip, or as under models"
    )
    options: dict[str, Any] = Field({}, description="keyword arguments of the architecture")
    weights: str | None = Field(
        None, description="pretrained tag (open_clip), 'published', 'random', a checkpoint, or the file of embeddings"
    )
    output: Literal["pooled", "tokens"] = Field(
        "pooled", description="the model's own embedding, or the mean over the tokens of its last hidden state"
    )
    layer: str | None = Field(None, description="source network: layer whose spatial mean is the embedding")
    patches: bool = Field(True, description="embed the patches of references; false: whole images only, for concepts")
    size: int | None = Field(None, ge=8, description="source network: side of its input, in pixels")
    mean: Mean | None = Field(None, description="source network: mean of the input per color")
    std: Std | None = Field(None, description="source network: standard deviation of the input per color")

    @model_validator(mode="after")
    def _complete(self) -> "Embedder":
        if self.source == "file" and self.weights is None:
            raise ValueError("source 'file' needs weights: the .npy, .safetensors or .h5 file of embeddings")
        of_a_hub = (self.architecture or "").startswith(SCHEMES)
        if self.source == "open_clip" and self.weights is None and not of_a_hub:
            raise ValueError("source 'open_clip' needs weights: a pretrained tag, a file, or 'random'")
        if self.source != "file" and self.architecture is None:
            raise ValueError(f"source {self.source!r} needs architecture")
        if self.source == "network" and (self.layer is None or self.size is None):
            raise ValueError("source 'network' needs layer and size")
        ignored = sorted(self.model_fields_set - USED_BY[self.source])
        ignored = [key for key in ignored if getattr(self, key) != type(self).model_fields[key].default]
        if ignored:
            used = listed(sorted(USED_BY[self.source] - {"source"}))
            raise ValueError(f"{ignored[0]} does nothing with source {self.source!r}, which has {used}")
        return self
