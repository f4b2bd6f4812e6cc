"""Find the virtual neuron that is active on each image (rule assignments)."""

from purelens.explanations.assignments import assignments
from purelens.workflow.job import run

run(assignments, snakemake)
