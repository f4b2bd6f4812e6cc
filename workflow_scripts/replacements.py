"""Measure zero-shot accuracy with effects replaced (rule replacements)."""

from purelens.job import run
from purelens.lens.replacements import replacements

run(replacements, snakemake)
