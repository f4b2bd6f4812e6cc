"""Put the parts of an artifact together (rule gather)."""

from purelens.gather import gather
from purelens.job import run

run(gather, snakemake)
