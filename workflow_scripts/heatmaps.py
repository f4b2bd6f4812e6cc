"""Draw where the neurons nearest to the class of each image are active (rule heatmaps)."""

from purelens.job import run
from purelens.lens.heatmaps import heatmaps

run(heatmaps, snakemake)
