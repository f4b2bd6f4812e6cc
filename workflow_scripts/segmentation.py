"""Segment images by a CLIP's neurons (rule segmentation)."""

from purelens.lens.segmentation import segmentation
from purelens.workflow.job import run

run(segmentation, snakemake)
