"""Run a function of the library as the job of a rule."""

import inspect
import logging
import random
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from purelens.artifacts import Provenance, read_identity
from purelens.errors import UserError

logger = logging.getLogger("purelens")


def run(function: Callable[..., None], snakemake: Any) -> None:
    """Call ``function`` with the inputs, outputs and params of a Snakemake job, all by name.

    Sets up the log file, the seeds and the number of threads. A ``UserError`` ends the job with one line; an output that
    was begun is not left behind.

    Parameters
    ----------
    function
        The library function of the rule. Its parameters are the names of the rule's inputs, outputs and params.
    snakemake
        The object that Snakemake gives to a script.
    """
    _log_to(snakemake.log[0] if snakemake.log else None)
    arguments = bind(function, snakemake)
    _seed(arguments.get("seed", 0), snakemake.threads)
    try:
        function(**arguments)
    except UserError as error:
        _stop(f"{snakemake.rule}: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _stop(f"{snakemake.rule}: {error}")


def bind(function: Callable[..., None], snakemake: Any) -> dict[str, Any]:
    """Collect the arguments of a rule's function from a job."""
    arguments: dict[str, Any] = {}
    for part in (snakemake.input, snakemake.output, snakemake.params):
        arguments.update(part.items())
    accepted = inspect.signature(function).parameters
    if "threads" in accepted:
        arguments["threads"] = snakemake.threads
    code = arguments.pop("code", "")
    if "provenance" in accepted:
        params = {name: value for name, value in snakemake.params.items() if name != "code"}
        arguments["provenance"] = Provenance(params, code, _identities(snakemake.input), arguments.get("seed", 0))
    for_reruns = ("_digest", "_file")
    return {name: value for name, value in arguments.items() if name in accepted or not name.endswith(for_reruns)}


def _identities(inputs: Any) -> dict[str, str]:
    """What each input is, by its name."""
    found = {}
    for name, value in inputs.items():
        paths = [value] if isinstance(value, str) else list(value)
        for number, path in enumerate(paths):
            found[name if len(paths) == 1 else f"{name}[{number}]"] = read_identity(path)
    return found


def _log_to(path: str | None) -> None:
    """Send the library's log and all warnings to the job's log file."""
    handler: logging.Handler = logging.FileHandler(path, mode="w") if path else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.captureWarnings(True)
    for name in ("purelens", "py.warnings"):
        logging.getLogger(name).addHandler(handler)
    logger.setLevel(logging.INFO)


def _seed(seed: int, threads: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
        torch.set_num_threads(max(1, threads))


def _stop(message: str) -> NoReturn:
    """End the process with one line, in the log and on the terminal."""
    logger.error("%s", message)
    print(f"purelens: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
