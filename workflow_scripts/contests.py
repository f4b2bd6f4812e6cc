"""Time every stage in every way (rule contests)."""

from purelens.bench.comparisons import contests
from purelens.workflow.job import run

run(contests, snakemake)
