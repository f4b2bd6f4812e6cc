"""Write the page that opens all others (rule explorer)."""

from purelens.job import run
from purelens.report.explorer import explorer

run(explorer, snakemake)
