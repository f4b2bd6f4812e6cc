"""Learn dictionaries of a layer's activations (rule dictionaries)."""

from purelens.circuits.dictionaries import dictionaries
from purelens.workflow.job import run

run(dictionaries, snakemake)
