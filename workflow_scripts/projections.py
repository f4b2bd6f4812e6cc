"""Project the references of each neuron to a plane (rule projections)."""

from purelens.circuits.projections import projections
from purelens.workflow.job import run

run(projections, snakemake)
