"""Compare the methods on a layer (rule layer_figures)."""

from purelens.job import run
from purelens.layer_figures import layer_figures

run(layer_figures, snakemake)
