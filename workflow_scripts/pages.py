"""Write the pages of all neurons of a layer (rule pages)."""

from purelens.report.pages import pages
from purelens.workflow.job import run

run(pages, snakemake)
