"""Train the CLIP of the embedded world (rule world_clip)."""

from purelens.job import run
from purelens.world.world_clip import world_clip

run(world_clip, snakemake)
