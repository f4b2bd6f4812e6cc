"""Measure zero-shot accuracy with effects replaced (rule replacements)."""

from purelens.lens.replacements import replacements
from purelens.workflow.job import run

run(replacements, snakemake)
