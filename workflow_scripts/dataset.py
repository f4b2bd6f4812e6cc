"""Decode every image once (rule dataset)."""

from purelens.dataset import dataset
from purelens.job import run

run(dataset, snakemake)
