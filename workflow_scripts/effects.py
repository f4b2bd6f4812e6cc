"""Record the second-order effects of a CLIP's neurons (rule effects)."""

from purelens.job import run
from purelens.lens.effects import effects

run(effects, snakemake)
