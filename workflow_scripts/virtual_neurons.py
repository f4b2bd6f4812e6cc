"""Cluster each neuron's references (rule virtual_neurons)."""

from purelens.circuits.virtual_neurons import virtual_neurons
from purelens.workflow.job import run

run(virtual_neurons, snakemake)
