"""Score neurons, virtual neurons and latents by how alike their images are (rule monosemanticity)."""

from purelens.circuits.monosemanticity import monosemanticity
from purelens.workflow.job import run

run(monosemanticity, snakemake)
