"""Load a network with its weights (rule model)."""

from purelens.job import run
from purelens.model import model

run(model, snakemake)
