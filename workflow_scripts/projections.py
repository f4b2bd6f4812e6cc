"""Lay the references of each neuron out in a plane (rule projections)."""

from purelens.job import run
from purelens.projections import projections

run(projections, snakemake)
