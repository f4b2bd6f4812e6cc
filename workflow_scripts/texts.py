"""Embed a pool of texts and the classes of a dataset (rule texts)."""

from purelens.job import run
from purelens.lens.texts import texts

run(texts, snakemake)
