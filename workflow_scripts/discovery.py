"""Find the concepts of each image by its activated neurons (rule discovery)."""

from purelens.lens.discovery import discovery
from purelens.workflow.job import run

run(discovery, snakemake)
