"""Cluster each neuron's references (rule virtual_neurons)."""

from purelens.job import run
from purelens.virtual_neurons import virtual_neurons

run(virtual_neurons, snakemake)
