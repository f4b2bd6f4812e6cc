"""Write the page that opens all others (rule explorer)."""

from purelens.report.explorer import explorer
from purelens.workflow.job import run

run(explorer, snakemake)
