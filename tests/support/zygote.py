"""Runs Snakemake's command line again and again in forks of one process, which has imported it: each saves three seconds.

Reads one JSON line for each run: the arguments, the folder, and the file for what is printed; answers with the exit status.
"""

import json
import os
import sys

import h5py  # noqa: F401
import pandas  # noqa: F401
import PIL.Image  # noqa: F401
import pydantic  # noqa: F401
import tqdm  # noqa: F401
import yaml  # noqa: F401
from snakemake.cli import main


def run(arguments: list[str], folder: str, output: str) -> None:
    """Become a Snakemake; does not return."""
    os.setsid()
    os.chdir(folder)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.argv = ["snakemake", *arguments]
    main()


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            run(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
