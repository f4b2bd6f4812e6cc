"""Find the virtual neuron at work on each image (rule gates)."""

from purelens.explanations.assignments import gates
from purelens.workflow.job import run

run(gates, snakemake)
