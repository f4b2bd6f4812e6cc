"""Attribute each neuron, on its references, to the lower layers (rule relevances)."""

from purelens.circuits.relevances import relevances
from purelens.workflow.job import run

run(relevances, snakemake)
