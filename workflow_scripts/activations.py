"""Record the activations of a layer and the references of its neurons (rule activations)."""

from purelens.activations import activations
from purelens.job import run

run(activations, snakemake)
