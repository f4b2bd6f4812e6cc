"""Score images that are to mislead a CLIP (rule attack_images)."""

from purelens.lens.attack_images import attack_images
from purelens.workflow.job import run

run(attack_images, snakemake)
