"""Correlate distances between circuits with distances between embeddings (rule alignment)."""

from purelens.circuits.alignment import alignment
from purelens.workflow.job import run

run(alignment, snakemake)
