"""Draw the activation of the neurons nearest to the class of each image (rule heatmaps)."""

from purelens.lens.heatmaps import heatmaps
from purelens.workflow.job import run

run(heatmaps, snakemake)
