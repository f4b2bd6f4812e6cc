"""Attribute each neuron, on its references, to the lower layers (rule relevances)."""

from purelens.job import run
from purelens.relevances import relevances

run(relevances, snakemake)
