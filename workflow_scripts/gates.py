"""Find the virtual neuron at work on each image (rule gates)."""

from purelens.explanations.gates import gates
from purelens.job import run

run(gates, snakemake)
