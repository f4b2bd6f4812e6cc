"""Embed all images of a dataset (rule image_embeddings)."""

from purelens.explanations.image_embeddings import image_embeddings
from purelens.workflow.job import run

run(image_embeddings, snakemake)
