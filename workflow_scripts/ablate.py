"""Score explanations by ablation (rule ablate)."""

from purelens.explanations.ablate import ablate
from purelens.workflow.job import run

run(ablate, snakemake)
