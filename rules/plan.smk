"""What a run would do, printed before it does it: ``snakemake plan``.

REQUIRED INPUTS  none
OUTPUTS          none
"""

from purelens.reruns.staleness import Step, planned
from purelens.workflow.estimates import artifact_bytes, measured_seconds, memory_mb


def planned_jobs(wildcards: Names) -> list[dict[str, object]]:
    """What a run of the whole study would do."""
    return [
        job_of(step) for step in planned(inputs.freshness, inputs.steps.find, targets())
    ]


def job_of(step: Step) -> dict[str, object]:
    """A line of the plan."""
    sizes = study.sizes(step.rule, step.wildcards)
    return {
        "rule": step.rule,
        "reasons": inputs.freshness.changes(step.outputs[0]) or ["missing"],
        "bytes": artifact_bytes(step.rule, sizes),
        "memory_mb": memory_mb(step.rule, sizes),
        "seconds": measured_seconds(step.benchmark),
    }


rule plan:
    log:
        log_path("plan"),
    conda:
        "../envs/purelens.yaml"
    params:
        jobs=planned_jobs,
        code=code_digest("plan"),
    message:
        "listing what a run would do"
    script:
        "../workflow_scripts/plan.py"
