"""Compare where neurons are active with where concepts are (rule network_dissection)."""

from purelens.explanations.network_dissection import network_dissection
from purelens.workflow.job import run

run(network_dissection, snakemake)
