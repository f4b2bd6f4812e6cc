"""Record the versions of the libraries that decide the last digits of a result."""

import platform
from importlib import metadata

RECORDED_LIBRARIES = (
    "purelens", "numpy", "torch", "torchvision", "zennit", "open_clip_torch", "timm", "scikit-learn", "h5py", "pillow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """List the versions of Python and of the libraries that decide the numbers."""
    installed = {"python": platform.python_version()}
    for name in RECORDED_LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
