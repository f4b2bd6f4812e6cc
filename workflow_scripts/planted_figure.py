"""Draw what methods find in planted neurons (rule planted_figure)."""

from purelens.figures.planted_figure import planted_figure
from purelens.workflow.job import run

run(planted_figure, snakemake)
