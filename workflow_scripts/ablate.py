"""Score explanations by ablation (rule ablate)."""

from purelens.explanations.ablate import ablate
from purelens.job import run

run(ablate, snakemake)
