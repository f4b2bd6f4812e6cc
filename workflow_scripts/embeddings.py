"""Embed the patches (rule embeddings)."""

from purelens.embeddings import embeddings
from purelens.job import run

run(embeddings, snakemake)
