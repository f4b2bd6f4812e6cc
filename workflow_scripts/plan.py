"""Print what a run would do (rule plan)."""

from purelens.job import run
from purelens.plan import plan

run(plan, snakemake)
