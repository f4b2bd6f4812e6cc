"""Measure distances within and between virtual neurons (rule interpretability)."""

from purelens.circuits.interpretability import interpretability
from purelens.workflow.job import run

run(interpretability, snakemake)
