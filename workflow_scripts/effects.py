"""Record the second-order effects of a CLIP's neurons (rule effects)."""

from purelens.lens.effects import effects
from purelens.workflow.job import run

run(effects, snakemake)
