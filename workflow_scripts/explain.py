"""Explain neurons in words (rule explain)."""

from purelens.explanations.explain import explain
from purelens.job import run

run(explain, snakemake)
