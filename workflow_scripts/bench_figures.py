"""Draw the benchmark (rule bench_figures)."""

from purelens.bench_figures import bench_figures
from purelens.job import run

run(bench_figures, snakemake)
