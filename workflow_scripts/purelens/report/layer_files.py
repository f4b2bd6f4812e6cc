"""Open the artifacts and tables of a layer that the explorer shows."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

from purelens.circuits.methods import PURE
from purelens.data.dataset import Images, open_images
from purelens.storage.reading import Artifact, read, strings


@dataclass(frozen=True)
class LayerArtifacts:
    """Paths of the artifacts of a layer, by the rules of these names.

    Attributes
    ----------
    embeddings
        One for each embedding model.
    polysemanticity_h5
        One, or none where neurons were not tested.
    """

    images_h5: str
    activations_h5: str
    relevances_h5: str
    patches_h5: str
    virtual_neurons_h5: str
    projections_h5: str
    embeddings: Sequence[str]
    polysemanticity_h5: Sequence[str] = ()


@dataclass(frozen=True)
class LayerTables:
    """Paths of the tables of the rules of these names.

    Attributes
    ----------
    monosemanticity_csv, selectivity_csv
        One, or none where it was not measured.
    """

    interpretability_csv: str
    interpretability_summary_csv: str
    alignment_csv: str
    alignment_summary_csv: str
    monosemanticity_csv: Sequence[str] = ()
    selectivity_csv: Sequence[str] = ()


@dataclass(frozen=True)
class WordFiles:
    """Paths of what the rules ``explain``, ``simulate`` and ``ablate`` made: one each, or none where nothing is explained."""

    explanations_h5: Sequence[str]
    scores_csv: Sequence[str]
    scores_summary_csv: Sequence[str]
    scores_virtual_csv: Sequence[str]
    ablation_summary_csv: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.explanations_h5)


@dataclass(frozen=True)
class LayerFiles:
    """The open artifacts of a layer."""

    images: Images
    activations: Artifact
    relevances: Artifact
    patches: Artifact
    clusters: Artifact
    plane: Artifact
    embeddings: Sequence[Artifact] = ()
    decisions: Artifact | None = None

    @cached_property
    def methods(self) -> list[str]:
        """What was clustered (see `purelens.circuits.methods`)."""
        return strings(self.clusters["method"])

    @cached_property
    def main_method(self) -> str:
        """The clustering that is shown first: by the circuits of the map."""
        return PURE + self.plane.attribute("lower_layer")

    @cached_property
    def n_clusters(self) -> list[int]:
        """The numbers of virtual neurons."""
        return [int(k) for k in self.clusters["n_clusters"][...]]


@contextmanager
def open_layer(paths: LayerArtifacts) -> Iterator[LayerFiles]:
    """Open the artifacts of a layer."""
    with ExitStack() as stack:

        def opened(path: str, name: str) -> Artifact:
            return stack.enter_context(read(path, name))

        yield LayerFiles(
            images=stack.enter_context(open_images(paths.images_h5)),
            activations=opened(paths.activations_h5, "activations"),
            relevances=opened(paths.relevances_h5, "relevances"),
            patches=opened(paths.patches_h5, "patches"),
            clusters=opened(paths.virtual_neurons_h5, "virtual_neurons"),
            plane=opened(paths.projections_h5, "projections"),
            embeddings=[opened(path, "embeddings") for path in paths.embeddings],
            decisions=next((opened(path, "polysemanticity") for path in paths.polysemanticity_h5), None),
        )
