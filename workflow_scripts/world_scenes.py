"""Draw one part of the embedded world (rule world_scenes)."""

from purelens.workflow.job import run
from purelens.world.world_scenes import world_scenes

run(world_scenes, snakemake)
