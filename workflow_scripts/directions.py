"""Find the direction of each neuron, from its largest effects (rule directions)."""

from purelens.lens.directions import directions
from purelens.workflow.job import run

run(directions, snakemake)
