"""Draw the benchmark (rule bench_figures)."""

from purelens.figures.bench_figures import bench_figures
from purelens.workflow.job import run

run(bench_figures, snakemake)
