"""Answer what the rules of explanations ask of a study."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from purelens.config.explain import Concepts
from purelens.workflow.study import Names, Study


@dataclass(frozen=True)
class ExplainStudy:
    """The section ``explain`` of a study.

    Attributes
    ----------
    study
        The study.
    """

    study: Study

    @property
    def explainers(self) -> list[str]:
        """Names of the concept sets that explain; one of all names only scores."""
        return [name for name, concepts in self.study.config.explain.concepts.items() if concepts.source != "all"]

    def artifact(self, artifact: str) -> Callable[[Names], list[str]]:
        """Return an input function: an artifact about the explanations of a layer, if there are any."""
        return lambda w: [self.study.path(artifact, **dict(w.items()))] if self.explainers else []

    def explaining(self, w: Names) -> list[str]:
        """List the concept sets that explain, on the dataset of a job."""
        return [self._path(w, name) for name in self.explainers]

    def ground_truth(self, w: Names) -> str:
        """Return the concept set that explanations are scored against."""
        explain = self.study.config.explain
        return self._path(w, explain.ground_truth or next(iter(explain.concepts)))

    def _path(self, w: Names, concepts: str) -> str:
        return self.study.path("concepts", dataset=w.dataset, concepts=concepts)

    def _concepts(self, w: Names) -> Concepts:
        return self.study.config.explain.concepts[w.concepts]

    def settings(self, w: Names) -> dict[str, Any]:
        """Return the settings of the concept set of a job."""
        return self._concepts(w).model_dump()

    def others(self, w: Names) -> list[str]:
        """List the concept sets whose names the one of a job takes."""
        return self.explaining(w) if self._concepts(w).source == "all" else []

    def imported(self, w: Names) -> list[str]:
        """List the files of imported explanations whose names the concept set of a job takes."""
        return list(self.study.config.explain.imported.values()) if self._concepts(w).source == "all" else []

    def embedder(self, w: Names) -> dict[str, Any] | None:
        """Return the settings of the embedding model of the texts of a concept set; None for labels."""
        name = self._concepts(w).embedder
        return self.study.embedder(name) if name else None

    def watch(self, w: Names) -> dict[str, str | None]:
        """Digest the architecture of that model, if it is a file."""
        embedder = self.embedder(w)
        return {"architecture": self.study.architecture_digest(embedder["architecture"] if embedder else None)}

    def embedded_images(self, w: Names) -> list[str]:
        """List the embeddings of the images by that model; none for labels."""
        name = self._concepts(w).embedder
        return [self.study.path("image_embeddings", dataset=w.dataset, embedder=name)] if name else []

    def files(self, w: Names) -> list[str]:
        """List the files that decide the concept set of a job."""
        concepts, embedder = self._concepts(w), self.embedder(w)
        files = [concepts.texts, concepts.text_embeddings, concepts.superclasses]
        weights = embedder["weights"] if embedder else None
        return self.study.files(weights, *files, *self.imported(w))

    def assignments(self, w: Names) -> list[str]:
        """List the assignments of a layer: one artifact if virtual neurons are explained, else none."""
        is_used = self.study.config.explain.virtual_neurons > 0
        return [self.study.path("assignments", **dict(w.items()))] if is_used else []

    def iou(self, w: Names) -> list[str]:
        """List the artifact of Network Dissection of a layer, if the study asks for it."""
        is_used = self.study.config.explain.network_dissection
        return [self.study.path("iou", **dict(w.items()))] if is_used else []
