"""Put the shards of an artifact together (rule gather)."""

from purelens.storage.gather import gather
from purelens.workflow.job import run

run(gather, snakemake)
