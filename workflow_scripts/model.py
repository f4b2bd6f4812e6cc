"""Load a network with its weights (rule model)."""

from purelens.networks.model import model
from purelens.workflow.job import run

run(model, snakemake)
