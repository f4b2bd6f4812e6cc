"""Write what the explorer shows of a CLIP under the lens (rule lens_pages)."""

from purelens.job import run
from purelens.report.lens_pages import lens_pages

run(lens_pages, snakemake)
