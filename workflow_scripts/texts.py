"""Embed a pool of texts (rule texts)."""

from purelens.job import run
from purelens.lens.texts import texts

run(texts, snakemake)
