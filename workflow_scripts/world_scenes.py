"""Draw one part of the embedded world (rule world_scenes)."""

from purelens.job import run
from purelens.world.world_scenes import world_scenes

run(world_scenes, snakemake)
