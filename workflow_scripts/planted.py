"""Plant neurons whose parts are known (rule planted)."""

from purelens.circuits.planted import planted
from purelens.workflow.job import run

run(planted, snakemake)
