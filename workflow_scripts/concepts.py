"""Find which concepts are on which image (rule concepts)."""

from purelens.explanations.concepts import concepts
from purelens.workflow.job import run

run(concepts, snakemake)
