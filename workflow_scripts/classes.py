"""Embed the classes of a dataset (rule classes)."""

from purelens.lens.classes import classes
from purelens.workflow.job import run

run(classes, snakemake)
