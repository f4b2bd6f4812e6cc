"""Lay the references of each neuron out in a plane (rule projections)."""

from purelens.circuits.projections import projections
from purelens.workflow.job import run

run(projections, snakemake)
