"""Segment images by a CLIP's neurons (rule segmentation)."""

from purelens.job import run
from purelens.lens.segmentation import segmentation

run(segmentation, snakemake)
