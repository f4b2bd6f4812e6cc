"""Time every stage in every implementation (rule comparisons)."""

from purelens.bench.comparisons import comparisons
from purelens.workflow.job import run

run(comparisons, snakemake)
