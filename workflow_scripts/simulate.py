"""Score explanations by simulation (rule simulate)."""

from purelens.explanations.simulate import simulate
from purelens.workflow.job import run

run(simulate, snakemake)
