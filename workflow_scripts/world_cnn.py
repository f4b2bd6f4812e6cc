"""Train the CNN of the embedded world (rule world_cnn)."""

from purelens.workflow.job import run
from purelens.world.world_cnn import world_cnn

run(world_cnn, snakemake)
