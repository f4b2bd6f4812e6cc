"""What is stale: each rule's input ``changed`` says why its output has to be made anew (see purelens/freshness.py)."""

from snakemake.io import apply_wildcards
from snakemake.iocontainers import Wildcards

from purelens.reruns.staleness import Freshness, Marks, Step
from purelens.workflow.job import input_paths


def find_step(file):
    """The step that makes a file, as its rule describes it; None for a source."""
    for maker in workflow.rules:
        for output in maker.output:
            match = output.match(file)
            if match and not maker.norun:
                return step_of(maker, Wildcards(fromdict=match.groupdict()))
    return None


def step_of(maker, wildcards):
    """Inputs and params of a rule for some wildcards."""

    def value(item):
        if callable(item):
            return item(wildcards)
        return apply_wildcards(item, wildcards) if isinstance(item, str) else item

    proxy = getattr(rules, maker.name)
    inputs = {
        name: value(item) for name, item in proxy.input.items() if name != "changed"
    }
    params = {name: value(item) for name, item in maker.params.items()}
    outputs = [str(apply_wildcards(str(output), wildcards)) for output in proxy.output]
    benchmark = str(apply_wildcards(str(proxy.benchmark), wildcards))
    return Step(
        maker.name, outputs, input_paths(inputs), params, dict(wildcards), benchmark
    )


freshness = Freshness(find_step, digests)
marks = Marks(freshness, MEMORY / "changed")


def changed(artifact, whole=None):
    """Input function: marks that are newer than the artifact where it is stale; ``whole`` is that of which it is a part."""
    if not workflow.is_main_process:
        return []

    def marks_of(wildcards):
        of_whole = whole.format(**wildcards) if whole and whole != artifact else None
        return marks.of(artifact.format(**wildcards), of_whole)

    return marks_of
