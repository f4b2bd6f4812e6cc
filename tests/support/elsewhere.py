"""Files that another process has open."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_elsewhere(path: Path, mode: str) -> Iterator[None]:
    """Keep a file open in another process."""
    code = "import h5py, sys; file = h5py.File(*sys.argv[1:]); print(1, flush=True); input(); file.close()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    yield
    process.communicate("\n")
