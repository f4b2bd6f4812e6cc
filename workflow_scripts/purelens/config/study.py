"""The configuration of a study, and how a mistake in it is reported."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from purelens.config.base import (
    AS_LIST,
    AS_TEXT,
    Fraction,
    Name,
    Positive,
    Section,
    check_distinct,
    check_unique,
    section_at,
)
from purelens.config.bench import Bench
from purelens.config.explain import Concepts, Explain
from purelens.config.inputs import Dataset, Embedder, Model, World
from purelens.config.lens import Lens, check_lens
from purelens.config.planted import Dictionaries, Planted, SomeLayers
from purelens.config.report import Report
from purelens.errors import UserError, listed, nearest

KEEP = "keep"
"""Instead of leaving out the neurons that a shortcut joins."""


class Relevances(Section):
    """Attribution of a neuron to the neurons of its lower layers."""

    normalize: Literal["l1", "none"] = Field(
        "l1", description="divide the relevances of a reference by the sum of their absolute values"
    )
    skip_channels: Literal["leave_out", "keep"] = Field(
        "leave_out",
        description="lower neurons that an identity shortcut joins to the neuron: out of its circuits, or kept, as published",
    )


class Patches(Section):
    """The patch of a reference image that a neuron responds to."""

    blur: int = Field(5, ge=1, description="side of the Gaussian kernel over the heatmap, in pixels; odd")
    threshold: Fraction = Field(0.02, description="share of the heatmap's maximum above which a pixel is in the box")
    crop_rule: Literal["inclusive", "published"] = Field(
        "inclusive",
        description="published: as PURE's program, without the last row and column and clamped on the low side only",
    )
    heat_size: int = Field(20, ge=4, description="side of the stored heatmap, in cells")
    contrast_stretch: bool = Field(
        True,
        description="stretch each patch to its own darkest and brightest value before it is embedded, as published",
    )

    @model_validator(mode="after")
    def _odd(self) -> "Patches":
        if self.blur % 2 == 0:
            raise ValueError(f"blur must be odd, not {self.blur}")
        return self


class VirtualNeurons(Section):
    """Clustering of the references of a neuron into virtual neurons."""

    n_clusters: Annotated[list[Annotated[int, Field(ge=2, le=100)]], AfterValidator(check_unique)] = Field(
        [2, 3, 4, 5], description="numbers of virtual neurons", min_length=1
    )
    restarts: Positive = Field(30, description="restarts of k-means")
    joint: bool = Field(
        True,
        description="test which neurons are polysemantic and split those, by the circuits of all lower layers and the "
        "activations together",
    )
    false_discovery_rate: float = Field(
        0.01, gt=0, lt=1, description="share of the neurons called polysemantic that are not, at most, on average"
    )
    most_virtual_neurons: Annotated[int, Field(ge=2, le=20)] = Field(
        5, description="largest number of virtual neurons of a neuron, where it is chosen"
    )
    activations_baseline: bool = Field(True, description="also cluster the mean activations of the layer")
    embedder_baselines: bool = Field(True, description="also cluster the embeddings of each embedding model")
    random_baseline: bool = Field(True, description="also split at random")


class Evaluation(Section):
    """Statistics of the virtual neurons."""

    bootstrap: int = Field(2000, ge=100, description="resamples of a bootstrap interval")
    confidence: float = Field(0.95, gt=0, lt=1, description="coverage of the intervals")
    alignment_references: int = Field(50, ge=3, description="references of a neuron whose distances are correlated")
    alignment_groups: Positive = Field(30, description="disjoint random groups of neurons, one correlation each")
    selectivity_neurons: Annotated[int, Field(ge=0)] = Field(
        16,
        description="neurons of a layer whose circuits are switched off, to see what depends on them; polysemantic ones "
        "first; 0: none",
    )


class Figures(Section):
    """Figures of neurons and layers."""

    renamed: ClassVar[dict[str, str]] = {"neighbours": "neighbors"}

    neurons: Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]] = Field(
        8, description="neurons of a layer to draw: how many (the highest silhouettes), or which; 0: none"
    )
    references: int = Field(20, ge=4, description="references on the sheet and in the UMAP")
    n_clusters: int = Field(2, ge=2, description="number of virtual neurons that is drawn")
    neighbors: int = Field(6, ge=2, description="neighbors of a point in the UMAP")
    min_dist: float = Field(0.3, ge=0, description="smallest distance of two points in the UMAP")


class Shards(Section):
    """Number of jobs that share the work of a stage, to run on several machines. The results are the same."""

    activations: Positive = Field(1, description="shards of the images whose activations are recorded")
    relevances: Positive = Field(1, description="shards of the neurons that are attributed")
    patches: Positive = Field(1, description="shards of the neurons whose patches are located")
    embeddings: Positive = Field(1, description="shards of the neurons whose patches are embedded, for each embedder")
    effects: Positive = Field(1, description="shards of the images whose second-order effects are recorded")


class Config(Section):
    """A study."""

    results: str = Field("results", description="folder of the artifacts")
    seed: int = Field(0, ge=0, description="seed of everything random")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    batch_size: int | None = Field(
        None, ge=1, description="images per batch; null: by device, halved when out of memory"
    )
    threads: Positive = Field(8, description="CPU threads of a job that uses the GPU, if there are as many cores")
    storage: Literal["half", "single"] = Field(
        "half", description="store activations, normalized relevances and embeddings in 16 or in 32 bits"
    )
    references: int = Field(100, ge=2, description="reference images of a neuron: those that activate it most")
    reference_criterion: Literal["max", "mean", "preactivation", "relevance"] = Field(
        "max",
        description="what ranks the images of a neuron: its largest activation over positions, its mean activation, the "
        "largest value before the layer's activation function, or its relevance for the predicted class",
    )
    world: World = Field(World(), description="the embedded world")
    datasets: dict[Name, Dataset] = Field(description="datasets, by a name of yours", min_length=1)
    models: dict[Name, Model] = Field(description="networks, by a name of yours; {} for the lens alone")
    embedders: dict[Name, Embedder] = Field(
        description="embedding models, by a name of yours; {} to split without one: nothing judges, and there is no explorer"
    )
    relevances: Relevances = Field(Relevances(), description="attribution to the lower layers")
    patches: Patches = Field(Patches(), description="patches of the references")
    virtual_neurons: VirtualNeurons = Field(VirtualNeurons(), description="clustering")
    evaluation: Evaluation = Field(Evaluation(), description="statistics")
    explain: Explain = Field(Explain(), description="explanations in words")
    lens: Lens = Field(Lens(), description="second-order effects of CLIP neurons")
    planted: Planted = Field(Planted(), description="the planted benchmark")
    dictionaries: Dictionaries = Field(Dictionaries(), description="dictionaries of activations")
    figures: Figures = Field(Figures(), description="figures")
    report: Report = Field(Report(), description="the explorer")
    shards: Shards = Field(Shards(), description="stages divided among several jobs")
    bench: Bench = Field(Bench(), description="the benchmark")

    @model_validator(mode="before")
    @classmethod
    def _at_home(cls, values: Any) -> Any:
        """Replace ``~`` at the start of paths, which only a shell would."""
        return _expanded(values)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for names in (self.datasets, self.models, self.embedders, self.explain.concepts):
            check_distinct(names)
        for model in self.models.values():
            check_distinct(model.layers)
        self._check_models()
        self._check_layers()
        self._check_references()
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
        """Names of the embedding models of patches."""
        return [name for name, embedder in self.embedders.items() if embedder.patches]

    def _check_models(self) -> None:
        for name, model in self.models.items():
            for dataset in model.datasets or []:
                if dataset not in self.datasets:
                    raise ValueError(
                        f"models.{name}.datasets: no dataset {dataset!r}{nearest(dataset, self.datasets)}; "
                        f"there are {listed(self.datasets)}"
                    )
        if not self.models and not self.lens.models:
            raise ValueError("models: there is nothing to study; give models, or lens.models")

    @property
    def _all_layers(self) -> list[str]:
        """All layers, as MODEL/LAYER."""
        return [f"{name}/{layer}" for name, model in self.models.items() for layer in model.layers]

    def layers_of(self, section: SomeLayers) -> list[str]:
        """Return the layers that a section is made for, as MODEL/LAYER."""
        return self._all_layers if section.layers == "all" else list(section.layers)

    def _check_layers(self) -> None:
        known = self._all_layers
        for name, section in (("planted", self.planted), ("dictionaries", self.dictionaries)):
            for layer in self.layers_of(section):
                if layer not in known:
                    there = listed(known) or "none"
                    raise ValueError(
                        f"{name}.layers: no layer {layer!r} under models{nearest(layer, known)}; there are {there}"
                    )
        if self.dictionaries.active > self.dictionaries.latents:
            raise ValueError(
                f"dictionaries.active: {self.dictionaries.active} of {self.dictionaries.latents} latents (dictionaries.latents)"
            )

    def _check_references(self) -> None:
        if self.models and self.world.probe_scenes < self.references:
            raise ValueError(
                f"references: {self.references} requested, but world.probe_scenes is {self.world.probe_scenes}"
            )
        most = max(self.virtual_neurons.n_clusters)
        if self.models and most >= self.references:
            raise ValueError(
                f"virtual_neurons.n_clusters: {most} clusters need more than {most} references, "
                f"but references is {self.references}"
            )

    def _check_concepts(self, name: str, concepts: Concepts) -> None:
        key, embedder = f"explain.concepts.{name}", concepts.embedder
        if embedder is None:
            return
        if embedder not in self.embedders:
            raise ValueError(
                f"{key}.embedder: no embedder {embedder!r} under embedders{nearest(embedder, self.embedders)}"
            )
        source = self.embedders[embedder].source
        if concepts.text_embeddings is None and source != "open_clip":
            raise ValueError(f"{key}: embedder {embedder!r} ({source}) knows no texts; give text_embeddings")


def _expanded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner) for inner in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


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
        errors = error.errors()
        old = {_new_location(e) for e in errors} - {None}
        raise UserError(
            "\n".join(_explain(e) for e in errors if e["type"] != "missing" or e["loc"] not in old)
        ) from None


def _new_location(error: Any) -> tuple[str | int, ...] | None:
    """Tell where a key of an earlier version stands now: what is missing there is not a second mistake."""
    if error["type"] != "extra_forbidden":
        return None
    new = section_at(Config, error["loc"][:-1]).renamed.get(str(error["loc"][-1]))
    return (*error["loc"][:-1], new) if new else None


def _explain(error: Any) -> str:
    """Tell one of pydantic's errors in a line."""
    location = [str(part) for part in error["loc"] if part not in ("[key]", AS_LIST, AS_TEXT)]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        section = section_at(Config, error["loc"][:-1])
        if location[-1] in section.renamed:
            return f"config: key '{key}' is now called '{section.renamed[location[-1]]}'"
        valid = list(section.model_fields)
        return f"config: unknown key '{key}'{nearest(location[-1], valid)}; valid: {listed(valid, 20)}"
    if error["type"] == "missing":
        field = section_at(Config, error["loc"][:-1]).model_fields.get(location[-1])
        return f"config: missing key '{key}'" + (f": {field.description}" if field else "")
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        given = str(error["input"]).lower()
        return (
            f"config: {key}: {given} is a text here, but none to YAML: put it in quotes, as it is written in the file"
        )
    message = error["msg"].removeprefix("Value error, ")
    given = f" (given: {error['input']!r})" if not isinstance(error["input"], dict | list) else ""
    return ": ".join(part for part in ("config", key, f"{message}{given}") if part)
