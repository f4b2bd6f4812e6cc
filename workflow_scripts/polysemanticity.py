"""Decide which neurons are polysemantic, and split those (rule polysemanticity)."""

from purelens.circuits.polysemanticity import polysemanticity
from purelens.workflow.job import run

run(polysemanticity, snakemake)
