"""Describe directions by texts (rule words)."""

from purelens.lens.words import words
from purelens.workflow.job import run

run(words, snakemake)
