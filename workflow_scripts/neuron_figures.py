"""Draw the neurons of a layer (rule neuron_figures)."""

from purelens.job import run
from purelens.neuron_figures import neuron_figures

run(neuron_figures, snakemake)
