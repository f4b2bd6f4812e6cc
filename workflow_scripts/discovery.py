"""Find the concepts of each image by its activated neurons (rule discovery)."""

from purelens.job import run
from purelens.lens.discovery import discovery

run(discovery, snakemake)
