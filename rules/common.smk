"""The study of this run, checked, and what all rules use."""

import atexit
import logging
import sys
from collections.abc import Callable

checkout = str(Path(workflow.basedir) / "workflow_scripts")
sys.path.insert(0, checkout)

from purelens.config.files import check_keys
from purelens.errors import UserError
from purelens.reruns.code_digests import code_digest
from purelens.reruns.digests import Digests, bundled_digests, file_digest
from purelens.storage.paths import MEMORY
from purelens.workflow.parent import announce_run
from purelens.workflow.preflight import (
    check_inputs_of_the_lens,
    check_room,
    check_writable,
)
from purelens.workflow.study import Names, one_of, open_study

if workflow.is_main_process:
    announce_run(checkout)
    logging.getLogger("purelens").addHandler(logging.StreamHandler())
    logging.getLogger("purelens").setLevel(logging.INFO)

digests = Digests(MEMORY / "digests.json")
atexit.register(digests.keep)

try:
    check_room(Path.cwd())
    check_keys(workflow.configfiles)
    study = open_study(config, digests)
except UserError as error:
    sys.exit(f"purelens: {error}")

if workflow.is_main_process:
    for warning in study.warnings:
        print(f"purelens: warning: {warning}", file=sys.stderr)

settings = study.config
path = study.path
memory = study.memory
runtime = study.runtime


def output(stage: str) -> str:
    """Output of a job: an artifact stays until the new one is whole; a shard is removed when all are gathered."""
    file = study.job_path(stage)
    made: str = temp(file) if study.n_shards(stage) > 1 else update(file)
    return made


def model_files() -> list[str]:
    """Weights and card of the model of a job."""
    return [path("model"), path("model_card")]


def embedding_paths(wildcards: Names) -> list[str]:
    """Artifacts of all embedding models for the layer of a job."""
    names = dict(wildcards.items())
    return [
        path("embeddings", **names, embedder=name) for name in settings.patch_embedders
    ]


def of_layer(
    artifact: str, is_made: Callable[[str], bool]
) -> Callable[[Names], list[str]]:
    """Input function: an artifact of the layer of a job, if the study makes it for that MODEL/LAYER."""

    def paths(wildcards: Names) -> list[str]:
        layer = f"{wildcards.model}/{wildcards.layer}"
        return [path(artifact, **dict(wildcards.items()))] if is_made(layer) else []

    return paths


with_dictionaries = settings.layers_of(settings.dictionaries)
with_planted = settings.layers_of(settings.planted)
decisions = of_layer("polysemanticity", lambda _: settings.virtual_neurons.joint)
learned_dictionaries = of_layer("dictionaries", with_dictionaries.__contains__)


def image_embedding_paths(wildcards: Names) -> list[str]:
    """Embeddings of whole images by all embedding models, for the dataset of a job."""
    names = {"dataset": wildcards.dataset}
    return [
        path("image_embeddings", **names, embedder=name)
        for name in settings.patch_embedders
    ]


def log_path(name: str) -> str:
    """Log of a rule's job: one file for each combination of its wildcards."""
    return path("log", name=study.log_name(name))


def benchmark_path(name: str) -> str:
    """Time and memory of a rule's job: one file for each combination of its wildcards."""
    return path("benchmark", name=study.log_name(name))


def check_before_jobs() -> None:
    """Stop before the first job if results cannot be written, or what the last jobs read cannot be used."""
    try:
        check_writable(Path(settings.results))
        check_inputs_of_the_lens(settings)
    except UserError as error:
        sys.exit(f"purelens: {error}")
