"""Write the pages of all neurons of a layer (rule pages)."""

from purelens.job import run
from purelens.report.pages import pages

run(pages, snakemake)
