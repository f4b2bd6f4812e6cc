"""Describe directions by texts (rule words)."""

from purelens.job import run
from purelens.lens.words import words

run(words, snakemake)
