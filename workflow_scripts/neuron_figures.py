"""Draw the neurons of a layer (rule neuron_figures)."""

from purelens.figures.neuron_figures import neuron_figures
from purelens.workflow.job import run

run(neuron_figures, snakemake)
