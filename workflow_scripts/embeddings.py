"""Embed the patches (rule embeddings)."""

from purelens.circuits.embeddings import embeddings
from purelens.workflow.job import run

run(embeddings, snakemake)
