"""Find words that mislead a CLIP (rule attacks)."""

from purelens.job import run
from purelens.lens.attacks import attacks

run(attacks, snakemake)
