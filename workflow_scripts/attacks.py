"""Find words that mislead a CLIP (rule attacks)."""

from purelens.lens.attacks import attacks
from purelens.workflow.job import run

run(attacks, snakemake)
