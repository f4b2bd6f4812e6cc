"""The section of the configuration about explanations in words."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from purelens.config.base import Fraction, Name, Positive, Section


class Concepts(Section):
    """A concept set, and how it is known which image shows which concept."""

    renamed: ClassVar[dict[str, str]] = {"least_probability": "min_probability"}

    source: Literal["labels", "texts", "all"] = Field(
        description="labels: those of the dataset; texts: a list, embedded by an embedding model; all: the names of "
        "all other sets and of imported explanations, known by an embedding model"
    )
    texts: str | None = Field(
        None, description="a .txt or .json list of concepts, or a .csv with columns concept and prompt"
    )
    template: str = Field("{}", description="prompt of a concept without one of its own; {} is the concept")
    embedder: str | None = Field(None, description="embedding model of the texts: of source open_clip or file")
    text_embeddings: str | None = Field(
        None, description="embeddings of the texts by a program of yours, a row each; needed if the embedder is a file"
    )
    min_probability: Fraction = Field(
        0.5, description="concepts are dropped whose five largest probabilities have a smaller mean"
    )
    superclasses: str | None = Field(None, description="a .json file that maps names to lists of classes")
    scale: float | None = Field(
        None, gt=0, description="a in sigmoid(a (cosine + b)); null: fitted to the labels of the training images"
    )
    bias: float | None = Field(None, description="b; null: fitted")

    @model_validator(mode="after")
    def _complete(self) -> "Concepts":
        unused = [
            key for key in ("texts", "embedder", "text_embeddings", "scale", "bias") if getattr(self, key) is not None
        ]
        if self.source == "labels" and unused:
            raise ValueError(f"source 'labels' takes no {unused[0]}: the dataset says what is on its images")
        if self.source == "labels" and self.template != "{}":
            raise ValueError("template does nothing with source 'labels': names of classes are no prompts")
        if self.source != "labels" and self.scale is not None and self.superclasses is not None:
            raise ValueError("superclasses do nothing where scale and bias are given: nothing is fitted to labels")
        if self.source == "texts" and self.texts is None:
            raise ValueError("source 'texts' needs texts: a .txt, .json or .csv list of concepts")
        if self.source != "labels" and self.embedder is None:
            raise ValueError(f"source {self.source!r} needs embedder")
        if self.source == "all" and self.text_embeddings is not None:
            raise ValueError("source 'all' cannot take text_embeddings: its texts are not known beforehand")
        if (self.scale is None) != (self.bias is None):
            raise ValueError("give both scale and bias, or neither")
        if "{}" not in self.template:
            raise ValueError(f"template must contain {{}}, where the concept goes, not {self.template!r}")
        return self


class Explain(Section):
    """Explanations of neurons in words. Without concept sets nothing is explained."""

    renamed: ClassVar[dict[str, str]] = {"simulator": "ground_truth", "elsewhere": "imported"}

    concepts: dict[Name, Concepts] = Field({}, description="concept sets, by a name of yours")
    ground_truth: str | None = Field(
        None, description="concept set that explanations are scored against; null: the first"
    )
    imported: dict[Name, str] = Field(
        {}, description="explanations by other programs: .csv tables of neuron, concept and, if there is one, weight"
    )
    clip_dissect: bool = Field(True, description="also explain by CLIP-Dissect, with each set of texts")
    network_dissection: bool = Field(
        False, description="also explain by Network Dissection, where the images have masks of concepts"
    )
    l1: float = Field(0.05, gt=0, description="penalty of the elastic net that ranks concepts")
    l1_ratio: float = Field(0.99, gt=0, le=1, description="share of the penalty that is l1")
    length: Positive = Field(10, description="most concepts of an explanation")
    width: Positive = Field(10, description="concepts tried in each step of the greedy search")
    tolerance: Fraction = Field(0.02, description="least gain in correlation for another concept")
    inhibitory: bool = Field(False, description="rank strong negative weights as high as positive ones")
    virtual_neurons: Annotated[int, Field(ge=0)] = Field(
        8, description="neurons of a layer whose virtual neurons are explained: the highest silhouettes; 0: none"
    )
    ablation_neurons: Annotated[int, Field(ge=0)] = Field(
        8, description="neurons that are replaced by their simulation in a layer without a linear head above it"
    )

    @model_validator(mode="after")
    def _known(self) -> "Explain":
        if (self.imported or self.network_dissection) and all(c.source == "all" for c in self.concepts.values()):
            raise ValueError(
                "imported and network_dissection need a concept set with source labels or texts, such as "
                "concepts: {labels: {source: labels}}"
            )
        if self.ground_truth is not None and self.ground_truth not in self.concepts:
            raise ValueError(
                f"ground_truth: no concept set {self.ground_truth!r}; there are {', '.join(self.concepts)}"
            )
        return self
