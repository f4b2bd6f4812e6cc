"""Compare the active positions of neurons with the masks of concepts (rule network_dissection)."""

from purelens.explanations.network_dissection import network_dissection
from purelens.workflow.job import run

run(network_dissection, snakemake)
