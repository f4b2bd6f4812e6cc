"""Locate the patch of each reference (rule patches)."""

from purelens.job import run
from purelens.patches import patches

run(patches, snakemake)
