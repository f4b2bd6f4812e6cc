"""The section of the configuration about the explorer."""

from pydantic import Field

from purelens.config.base import Positive, Section


class Report(Section):
    """The explorer."""

    explorer: bool = Field(True, description="write the explorer, results/report/index.html")
    references: int = Field(20, ge=4, description="references of a neuron that are shown as patches")
    patch_size: int = Field(88, ge=16, le=512, description="side of a patch, in pixels")
    image_size: int = Field(160, ge=16, le=1024, description="side of a whole image, in pixels")
    circuit: Positive = Field(8, description="lower neurons of a circuit that are shown")
    single_file_megabytes: Positive = Field(
        8,
        description="size of the explorer in one file, which holds the neurons of each layer with the largest gaps only",
    )
