"""The section of the configuration about linear explanations."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from purelens.config.base import Fraction, Name, Positive, Section


class Concepts(Section):
    """A set of concepts, and how it is known which image has them."""

    source: Literal["labels", "texts", "all"] = Field(
        description="labels: what the dataset says of its images; texts: a list, known by an embedder; all: the names of all "
        "other sets and of explanations from elsewhere, known by an embedder"
    )
    texts: str | None = Field(
        None, description="a .txt or .json list of concepts, or a .csv with columns concept and prompt"
    )
    template: str = Field("{}", description="the sentence for a concept without a prompt; {} is the concept")
    embedder: str | None = Field(None, description="the embedder that knows the texts: an open_clip model, or a file")
    text_embeddings: str | None = Field(
        None, description="embeddings of the texts computed elsewhere, a row for each; needed if the embedder is a file"
    )
    least_probability: Fraction = Field(
        0.5, description="a concept is left out unless the mean of its five largest probabilities is at least this"
    )
    superclasses: str | None = Field(None, description="a .json file that maps names to lists of classes")
    scale: float | None = Field(
        None, gt=0, description="a in sigmoid(a (cosine + b)); null: fitted to the labels of the training images"
    )
    bias: float | None = Field(None, description="b; null: fitted")

    @model_validator(mode="after")
    def _needs(self) -> "Concepts":
        unused = [
            key for key in ("texts", "embedder", "text_embeddings", "scale", "bias") if getattr(self, key) is not None
        ]
        if self.source == "labels" and unused:
            raise ValueError(f"source 'labels' takes no {unused[0]}: the dataset says what is on its images")
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
    """Explanations of neurons in words. Without sets of concepts there are none."""

    concepts: dict[Name, Concepts] = Field({}, description="sets of concepts, by a name of yours")
    simulator: str | None = Field(
        None,
        description="the set that says which images have the concepts when explanations are scored; null: the first",
    )
    elsewhere: dict[Name, str] = Field(
        {}, description="explanations made elsewhere: .csv tables of neuron, concept and, if there is one, weight"
    )
    clip_dissect: bool = Field(True, description="also explain by CLIP-Dissect, with each set of texts")
    network_dissection: bool = Field(
        False, description="also explain by Network Dissection, where the images have masks of concepts"
    )
    l1: float = Field(0.05, gt=0, description="penalty of the sparse fit that ranks concepts")
    l1_ratio: float = Field(0.99, gt=0, le=1, description="share of the penalty that makes weights zero")
    length: Positive = Field(10, description="most concepts of an explanation")
    width: Positive = Field(10, description="concepts tried at a time")
    tolerance: Fraction = Field(0.02, description="by how much a concept must raise the correlation")
    inhibitory: bool = Field(False, description="strong negative weights come as early as positive ones")
    virtual_neurons: Annotated[int, Field(ge=0)] = Field(
        8, description="how many neurons of a layer have their virtual neurons explained, the clearest splits; 0: none"
    )
    ablation_neurons: Annotated[int, Field(ge=0)] = Field(
        8, description="how many neurons of a layer without a linear head above it are replaced by their simulation"
    )

    @model_validator(mode="after")
    def _known(self) -> "Explain":
        if (self.elsewhere or self.network_dissection) and all(c.source == "all" for c in self.concepts.values()):
            raise ValueError(
                "elsewhere and network_dissection need a set of concepts with source labels or texts, such as "
                "concepts: {labels: {source: labels}}"
            )
        if self.simulator is not None and self.simulator not in self.concepts:
            raise ValueError(f"simulator: no set of concepts {self.simulator!r}; there are {', '.join(self.concepts)}")
        return self
