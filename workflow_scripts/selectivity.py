"""Measure what depends on the circuits of virtual neurons (rule selectivity)."""

from purelens.circuits.selectivity import selectivity
from purelens.workflow.job import run

run(selectivity, snakemake)
