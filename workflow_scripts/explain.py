"""Explain neurons in words (rule explain)."""

from purelens.explanations.explain import explain
from purelens.workflow.job import run

run(explain, snakemake)
