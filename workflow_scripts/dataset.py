"""Decode every image once (rule dataset)."""

from purelens.data.dataset import dataset
from purelens.workflow.job import run

run(dataset, snakemake)
