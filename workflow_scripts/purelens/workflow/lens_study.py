"""Answer what the rules of the second-order lens ask of a study."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from purelens.workflow.study import Names, Study


@dataclass(frozen=True)
class LensStudy:
    """The section ``lens`` of a study.

    Attributes
    ----------
    study
        The study.
    """

    study: Study

    def blocks(self, w: Names) -> list[int]:
        """List the blocks of a CLIP whose neurons are read."""
        return self.study.config.lens.models[w.embedder].blocks

    def of_blocks(self, artifact: str) -> Callable[[Names], list[str]]:
        """Return an input function: an artifact of each of these blocks."""
        return lambda w: [self.study.path(artifact, **dict(w.items()), block=str(block)) for block in self.blocks(w)]

    def attack_settings(self, without: set[str]) -> dict[str, dict[str, Any]]:
        """Return the settings of the attacks, by name, without some of them."""
        return {name: attack.model_dump(exclude=without) for name, attack in self.study.config.lens.attacks.items()}

    @property
    def attack_kinds(self) -> list[str]:
        """Tables about attacks that the study makes: words, prompts, and scores of images if there are any."""
        lens = self.study.config.lens
        if not lens.attacks:
            return []
        is_scored = lens.pipeline or any(attack.images for attack in lens.attacks.values())
        return ["attacks", "attack_prompts", *(["attack_images"] if is_scored else [])]

    def attack_tables(self, w: Names) -> list[str]:
        """List the paths of these tables of a CLIP."""
        return [self.study.path(kind, **dict(w.items())) for kind in self.attack_kinds]

    def attack_watch(self, w: Names) -> dict[str, Any]:
        """Digest what decides the scores of attacks besides params: the model, the images, the pipeline."""
        sources = [attack.images for attack in self.study.config.lens.attacks.values() if attack.images]
        return {
            **self.study.embedder_watch(w),
            "images": [self.study.images_digest(source) or self.study.digests.of(source) for source in sources],
            "pipeline": self.study.folder_digest(self.study.config.lens.pipeline),
        }
