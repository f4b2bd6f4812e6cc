"""Measure distances within and between virtual neurons (rule interpretability)."""

from purelens.interpretability import interpretability
from purelens.job import run

run(interpretability, snakemake)
