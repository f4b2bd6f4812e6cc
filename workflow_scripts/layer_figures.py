"""Compare the methods on a layer (rule layer_figures)."""

from purelens.figures.layer_figures import layer_figures
from purelens.workflow.job import run

run(layer_figures, snakemake)
