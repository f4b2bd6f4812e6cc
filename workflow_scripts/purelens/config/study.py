"""The configuration of a study: one model, from which the schema and the README's table are made."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from purelens.config.base import Colors, Fraction, Name, Positive, Section, Std, check_unique
from purelens.config.bench import Bench
from purelens.config.explain import Concepts, Explain
from purelens.config.lens import Attack, Lens, LensModel, Segmentation, check_lens
from purelens.config.report import Report
from purelens.errors import UserError, listed, nearest


class World(Section):
    """The embedded world: scenes drawn, and two small networks trained on them, when a path below asks for them."""

    train_scenes: int = Field(10000, ge=100, description="scenes the two networks are trained on")
    probe_scenes: int = Field(2000, ge=16, description="scenes the study looks at; not among the training scenes")
    test_scenes: int = Field(1000, ge=16, description="scenes on which the accuracies are measured; in neither set")
    cnn_epochs: Positive = Field(3, description="passes of the residual CNN over the training scenes")
    clip_epochs: Positive = Field(3, description="passes of the CLIP over the training scenes")


class Dataset(Section):
    """The probing images, decoded once."""

    images: str = Field(
        description="folder of class folders, a .csv of path and label, or an .h5 file of images (see README)"
    )
    size: int = Field(224, ge=8, description="side of the square the models see: a center crop, in pixels")
    resize: int | None = Field(None, ge=8, description="short side before the crop; null: the same as size")
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="how images are resized")
    min_side: Positive = Field(8, description="images with a side shorter than this are rejected")
    on_bad_image: Literal["reject", "error"] = Field(
        "reject", description="an unreadable image is listed in the artifact and left out, or stops the run"
    )

    @model_validator(mode="after")
    def _resize_covers_crop(self) -> "Dataset":
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize ({self.resize}) must be at least size ({self.size})")
        return self


class Layer(Section):
    """A layer whose neurons are studied."""

    lower_layers: Annotated[list[str], AfterValidator(check_unique)] | None = Field(
        None, description="layers below, to whose neurons relevance is attributed; null: the block before", min_length=1
    )
    neurons: Literal["all"] | list[int | str] = Field(
        "all", description="all, or a list of channel numbers and ranges such as [0, 7, '16-31']"
    )

    @field_validator("neurons", mode="before")
    @classmethod
    def _one_neuron_or_range(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | str) and value != "all" else value

    channels: Literal["auto", "first", "last"] = Field(
        "auto",
        description="where the neurons are in the outputs of the layer and its lower layers: after the batch, or last; "
        "auto: last for tokens, else first (set last for networks such as Swin)",
    )


class Model(Section):
    """A network and the layers of it to study."""

    architecture: str = Field(
        description="'torchvision:NAME', 'timm:NAME', or 'path/to/file.py:factory' for a network of your own"
    )
    options: dict[str, Any] = Field({}, description="keyword arguments of the architecture, e.g. {num_classes: 10}")
    weights: str = Field("published", description="'published', 'random', or a .safetensors / .pth / .pt file")
    mean: Colors | None = Field(
        None, description="mean of the input colors; null: the published weights' own, else ImageNet's"
    )
    std: Std | None = Field(None, description="standard deviation of the input colors; null: as for mean")
    datasets: list[str] | None = Field(None, description="datasets to study it on; null: all of them", min_length=1)
    layers: dict[str, Layer] = Field(description="layers to study, by module name", min_length=1)
    attribution: Literal["lrp", "gradient"] = Field(
        "lrp",
        description="how patches are located: LRP, or input x gradient for networks LRP has no rules for (transformers)",
    )

    @model_validator(mode="after")
    def _weights_can_be_had(self) -> "Model":
        published = self.architecture.startswith(("torchvision:", "timm:"))
        if self.weights == "published" and not published:
            raise ValueError(f"weights: nothing is published for {self.architecture!r}; give a file, or 'random'")
        if self.weights not in ("published", "random") and not Path(self.weights).suffix:
            raise ValueError(f"weights: {self.weights!r} is neither 'published' nor 'random' nor a file")
        return self

    @model_validator(mode="before")
    @classmethod
    def _layers_without_options(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("layers"), dict):
            layers = {name: {} if layer is None else layer for name, layer in values["layers"].items()}
            return {**values, "layers": layers}
        return values


class Embedder(Section):
    """A network that says how alike two patches look, or a file of embeddings."""

    source: Literal["open_clip", "timm", "network", "file"] = Field(
        description="an open_clip model, a timm model, any network as under models, or a file with a row per image"
    )
    architecture: str | None = Field(
        None, description="open_clip or timm name, a .json of an open_clip model config, or as under models"
    )
    options: dict[str, Any] = Field({}, description="keyword arguments of a network's architecture")
    weights: str | None = Field(
        None, description="pretrained tag (open_clip), 'published', 'random', or a checkpoint file; or the file itself"
    )
    output: Literal["pooled", "tokens"] = Field(
        "pooled", description="the model's own embedding, or the mean over the tokens of its last hidden state"
    )
    layer: str | None = Field(None, description="network only: the layer whose spatial mean is the embedding")
    patches: bool = Field(True, description="embed the patches of references; false: whole images only, for concepts")
    size: int | None = Field(None, ge=8, description="network only: side of its input in pixels")
    mean: Colors | None = Field(None, description="network only: mean of the input colors")
    std: Std | None = Field(None, description="network only: their standard deviation")

    @model_validator(mode="after")
    def _needs(self) -> "Embedder":
        if self.source == "file" and self.weights is None:
            raise ValueError("source 'file' needs weights: the .npy, .safetensors or .h5 file of embeddings")
        if self.source == "open_clip" and self.weights is None:
            raise ValueError("source 'open_clip' needs weights: a pretrained tag, a file, or 'random'")
        if self.source != "file" and self.architecture is None:
            raise ValueError(f"source {self.source!r} needs architecture")
        if self.source == "network" and (self.layer is None or self.size is None):
            raise ValueError("source 'network' needs layer and size")
        return self


class Relevances(Section):
    """Attribution of a neuron to the neurons of a lower layer."""

    normalize: Literal["l1", "none"] = Field("l1", description="divide each vector by the sum of its absolute values")


class Patches(Section):
    """The part of a reference image that a neuron looks at."""

    blur: int = Field(5, ge=1, description="side of the Gaussian kernel over the heatmap, in pixels; odd")
    threshold: Fraction = Field(0.02, description="share of the heatmap's maximum above which a pixel is in the box")
    crop_rule: Literal["inclusive", "published"] = Field(
        "inclusive",
        description="published: as PURE's program, without the last row and column and clamped on the low side only",
    )
    heat_size: int = Field(20, ge=4, description="side of the stored heatmap, in cells")
    contrast_stretch: bool = Field(
        True, description="stretch a patch to its own darkest and brightest value before it is embedded, as published"
    )

    @model_validator(mode="after")
    def _odd(self) -> "Patches":
        if self.blur % 2 == 0:
            raise ValueError(f"blur must be odd, not {self.blur}")
        return self


class VirtualNeurons(Section):
    """Clustering of a neuron's references."""

    n_clusters: Annotated[list[Annotated[int, Field(ge=2, le=100)]], AfterValidator(check_unique)] = Field(
        [2, 3, 4, 5], description="numbers of clusters", min_length=1
    )
    restarts: Positive = Field(10, description="k-means restarts")
    activations_baseline: bool = Field(True, description="also cluster mean activations of the layer")
    embedder_baselines: bool = Field(True, description="also cluster each embedder's embeddings")
    random_baseline: bool = Field(True, description="also split at random")


class Evaluation(Section):
    """How far the splits are from chance."""

    bootstrap: int = Field(2000, ge=100, description="resamples of the neurons for a confidence interval")
    confidence: float = Field(0.95, gt=0, lt=1, description="coverage of the intervals")
    alignment_references: int = Field(50, ge=3, description="references of a neuron whose distances are correlated")
    alignment_groups: Positive = Field(30, description="disjoint random groups of neurons, one correlation each")


class Figures(Section):
    """What is drawn."""

    neurons: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]] = Field(
        8, description="how many neurons of a layer to draw (the best separated), or which; 0: none"
    )
    references: int = Field(20, ge=4, description="references on the sheet and in the UMAP")
    n_clusters: int = Field(2, ge=2, description="the number of clusters that is drawn")
    neighbors: int = Field(6, ge=2, description="neighbors of a point in the UMAP")
    min_dist: float = Field(0.3, ge=0, description="smallest distance of two points in the UMAP")


class Shards(Section):
    """Into how many jobs a stage is divided, to run on several machines. The results are the same."""

    activations: Positive = Field(1, description="jobs over the images that record the activations of a layer")
    relevances: Positive = Field(1, description="jobs over the neurons of a layer that attribute them")
    patches: Positive = Field(1, description="jobs over the neurons that locate their patches")
    embeddings: Positive = Field(1, description="jobs over the neurons that embed their patches, for each embedder")
    effects: Positive = Field(1, description="jobs over the images that record the effects of a CLIP's block")


class Config(Section):
    """A study."""

    results: str = Field("results", description="folder of the artifacts")
    seed: int = Field(0, ge=0, description="seed of everything that is drawn at random")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    batch_size: int | None = Field(None, ge=1, description="images at a time; null: by device, halved when memory ends")
    threads: Positive = Field(8, description="CPU threads of a step that uses the GPU, if there are as many cores")
    storage: Literal["half", "single"] = Field(
        "half", description="store activations, normalized relevances and embeddings in 16 or in 32 bits"
    )
    references: int = Field(100, ge=2, description="images of a neuron: those that activate it most")
    world: World = Field(World(), description="the embedded world")
    datasets: dict[Name, Dataset] = Field(description="sets of images, by a name of yours", min_length=1)
    models: dict[Name, Model] = Field(description="networks, by a name of yours; {} for the lens alone")
    embedders: dict[Name, Embedder] = Field(description="embedders, by a name of yours", min_length=1)
    relevances: Relevances = Field(Relevances(), description="attribution to the lower layers")
    patches: Patches = Field(Patches(), description="the patches")
    virtual_neurons: VirtualNeurons = Field(VirtualNeurons(), description="clustering")
    evaluation: Evaluation = Field(Evaluation(), description="statistics")
    explain: Explain = Field(Explain(), description="explanations of neurons in words")
    lens: Lens = Field(Lens(), description="second-order effects of CLIP neurons")
    figures: Figures = Field(Figures(), description="figures")
    report: Report = Field(Report(), description="the explorer")
    shards: Shards = Field(Shards(), description="stages divided into several jobs")
    bench: Bench = Field(Bench(), description="the benchmark")

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name, model in self.models.items():
            for dataset in model.datasets or []:
                if dataset not in self.datasets:
                    raise ValueError(
                        f"models.{name}.datasets: no dataset {dataset!r}{nearest(dataset, self.datasets)}; "
                        f"there are {listed(self.datasets)}"
                    )
        if self.models and self.world.probe_scenes < self.references:
            raise ValueError(
                f"references: {self.references} wanted, but world.probe_scenes is {self.world.probe_scenes}"
            )
        most = max(self.virtual_neurons.n_clusters)
        if self.models and most >= self.references:
            raise ValueError(
                f"virtual_neurons.n_clusters: {most} clusters need more than {most} references, "
                f"but references is {self.references}"
            )
        if not self.models and not self.lens.models:
            raise ValueError("models: there is nothing to study; give models, or lens.models")
        if self.models and not self.patch_embedders:
            raise ValueError("embedders: all have patches: false; one at least must judge the virtual neurons")
        for name, concepts in self.explain.concepts.items():
            self._check_concepts(name, concepts)
        check_lens(self.lens, {name: embedder.source for name, embedder in self.embedders.items()}, list(self.datasets))
        if self.figures.n_clusters not in self.virtual_neurons.n_clusters:
            raise ValueError(
                f"figures.n_clusters: {self.figures.n_clusters} is not in virtual_neurons.n_clusters "
                f"({listed(self.virtual_neurons.n_clusters)})"
            )
        return self

    @property
    def patch_embedders(self) -> list[str]:
        """Names of the embedders of patches."""
        return [name for name, embedder in self.embedders.items() if embedder.patches]

    def _check_concepts(self, name: str, concepts: Concepts) -> None:
        """Check that a set of concepts has an embedder that can know its texts."""
        key, embedder = f"explain.concepts.{name}", concepts.embedder
        if embedder is None:
            return
        if embedder not in self.embedders:
            raise ValueError(f"{key}.embedder: no embedder {embedder!r}{nearest(embedder, self.embedders)}")
        source = self.embedders[embedder].source
        if concepts.text_embeddings is None and source != "open_clip":
            raise ValueError(f"{key}: embedder {embedder!r} ({source}) knows no texts; give text_embeddings")


def load_config(source: dict[str, Any] | str | Path) -> Config:
    """Validate a configuration.

    Parameters
    ----------
    source
        The mapping that Snakemake read, or the path of a YAML file.

    Raises
    ------
    UserError
        With the key that is wrong and what would be valid, one line for each.
    """
    values: Any = source
    if isinstance(source, str | Path):
        try:
            values = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"config: cannot read {source}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise UserError(f"config: {source} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError("config: expected keys and values, see config.yaml")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(_explain(e) for e in error.errors())) from None


def _explain(error: Any) -> str:
    """One line for one of pydantic's errors."""
    location = [str(part) for part in error["loc"] if part not in ("[key]",)]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        section = _section_at(error["loc"][:-1])
        valid = list(section.model_fields) if section else []
        return f"config: unknown key '{key}'{nearest(location[-1], valid)}; valid: {listed(valid, 20)}"
    if error["type"] == "missing":
        section = _section_at(error["loc"][:-1])
        field = section.model_fields.get(location[-1]) if section else None
        return f"config: missing key '{key}'" + (f": {field.description}" if field else "")
    message = error["msg"].removeprefix("Value error, ")
    given = f" (given: {error['input']!r})" if not isinstance(error["input"], dict | list) else ""
    return ": ".join(part for part in ("config", key, f"{message}{given}") if part)


SECTIONS: dict[str, type[Section]] = {
    "world": World,
    "datasets": Dataset,
    "models": Model,
    "embedders": Embedder,
    "relevances": Relevances,
    "patches": Patches,
    "virtual_neurons": VirtualNeurons,
    "evaluation": Evaluation,
    "explain": Explain,
    "lens": Lens,
    "figures": Figures,
    "report": Report,
    "shards": Shards,
    "bench": Bench,
}

NAMED_SECTIONS: dict[tuple[Any, ...], type[Section]] = {
    ("explain", "concepts"): Concepts,
    ("lens", "models"): LensModel,
    ("lens", "attacks"): Attack,
}


def _section_at(location: tuple[Any, ...]) -> type[Section] | None:
    """The section that a location in the configuration belongs to."""
    if not location:
        return Config
    if len(location) > 2 and location[0] == "models" and location[2] == "layers":
        return Layer
    if len(location) > 2 and location[:2] in NAMED_SECTIONS:
        return NAMED_SECTIONS[location[:2]]
    if location[:2] == ("lens", "segmentation"):
        return Segmentation
    return SECTIONS.get(str(location[0]))
