"""Print what a run would do (rule plan)."""

from purelens.reruns.plan import plan
from purelens.workflow.job import run

run(plan, snakemake)
