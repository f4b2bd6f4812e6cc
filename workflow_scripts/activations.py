"""Record the activations of a layer and the references of its neurons (rule activations)."""

from purelens.circuits.activations import activations
from purelens.workflow.job import run

run(activations, snakemake)
