"""Train the CLIP of the embedded world (rule world_clip)."""

from purelens.workflow.job import run
from purelens.world.world_clip import world_clip

run(world_clip, snakemake)
