"""Correlate distances between circuits with distances between embeddings (rule alignment)."""

from purelens.alignment import alignment
from purelens.job import run

run(alignment, snakemake)
