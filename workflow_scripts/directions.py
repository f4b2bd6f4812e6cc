"""Find the directions of their largest effects (rule directions)."""

from purelens.job import run
from purelens.lens.directions import directions

run(directions, snakemake)
