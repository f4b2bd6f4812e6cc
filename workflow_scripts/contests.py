"""Time every stage in every way (rule contests)."""

from purelens.bench.contests import contests
from purelens.job import run

run(contests, snakemake)
