"""Embed the classes of a dataset (rule classes)."""

from purelens.job import run
from purelens.lens.classes import classes

run(classes, snakemake)
