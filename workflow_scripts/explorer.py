"""Write the explorer around the pages of all layers (rule explorer)."""

from purelens.report.explorer import explorer
from purelens.workflow.job import run

run(explorer, snakemake)
