"""Write what the explorer shows of a CLIP (rule lens_pages)."""

from purelens.report.lens_pages import lens_pages
from purelens.workflow.job import run

run(lens_pages, snakemake)
