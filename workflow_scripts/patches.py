"""Locate the patch of each reference (rule patches)."""

from purelens.circuits.patches import patches
from purelens.workflow.job import run

run(patches, snakemake)
