"""Embed a pool of texts (rule texts)."""

from purelens.lens.texts import texts
from purelens.workflow.job import run

run(texts, snakemake)
