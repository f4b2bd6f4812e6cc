"""What a run would do, printed before it does it: ``snakemake plan``.

REQUIRED INPUTS  none
OUTPUTS          none
"""


rule plan:
    log:
        log_path("plan"),
    conda:
        "../envs/purelens.yaml"
    params:
        jobs=lambda w: inputs.planned_jobs(targets()),
        code=code_digest("plan"),
    message:
        "listing what a run would do"
    script:
        "../workflow_scripts/plan.py"
