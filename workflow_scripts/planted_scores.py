"""Measure whether methods find the parts of planted neurons (rule planted_scores)."""

from purelens.circuits.planted_scores import planted_scores
from purelens.workflow.job import run

run(planted_scores, snakemake)
