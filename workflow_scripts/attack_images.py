"""Score images that are to mislead a CLIP (rule attack_images)."""

from purelens.job import run
from purelens.lens.attack_images import attack_images

run(attack_images, snakemake)
