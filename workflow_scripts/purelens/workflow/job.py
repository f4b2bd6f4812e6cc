"""Run a function of the library as the job of a rule."""

import inspect
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from purelens.errors import UserError
from purelens.storage.provenance import RECORD, Provenance, check_lineage, provenance_of, recorded_path, write_record
from purelens.workflow.malloc import keep_freed_memory
from purelens.workflow.seeding import seed_everything

logger = logging.getLogger("purelens")

CHANGED = "changed"
"""The input of every rule that says why its output is stale (see `purelens.reruns.staleness`)."""


def run(function: Callable[..., None], snakemake: Any) -> None:
    """Call ``function`` with the inputs, outputs and params of a Snakemake job, all by name.

    Sets up the log file, the seeds and the number of threads, refuses inputs that were not made from one another, and records
    what the outputs were made from. A ``UserError`` ends the job with one line, and so does a signal to stop.

    Parameters
    ----------
    function
        The library function of the rule. Its parameters are the names of the rule's inputs, outputs and params.
    snakemake
        The object that Snakemake gives to a script.
    """
    started = time.perf_counter()
    _log_to(snakemake.log[0] if snakemake.log else None)
    _quiet_when_the_disk_is_full()
    signal.signal(signal.SIGTERM, lambda *_: _end_at_once(f"{snakemake.rule}: told to stop (SIGTERM)"))
    try:
        inputs = input_paths(snakemake.input)
        provenance = _provenance(snakemake, inputs)
        arguments = bind(function, snakemake)
        if "provenance" in inspect.signature(function).parameters:
            arguments["provenance"] = provenance
        seed_everything(arguments.get("seed", 0), snakemake.threads)
        keep_freed_memory()
        function(**arguments)
        for path in map(str, snakemake.output):
            if not path.endswith(".h5"):
                write_record(recorded_path(path), provenance)
        logger.info("%s: done in %.2f s", snakemake.rule, time.perf_counter() - started)
    except UserError as error:
        _stop(f"{snakemake.rule}: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _stop(f"{snakemake.rule}: {error}")


def _provenance(snakemake: Any, inputs: dict[str, str]) -> Provenance:
    """What the outputs of a job are made from; refuses inputs that were not made from one another."""
    folder = Path(snakemake.output[0]).parent if snakemake.output else Path()
    identities = check_lineage(inputs)
    paths = {name: os.path.relpath(path, folder) for name, path in inputs.items()}
    return provenance_of(dict(snakemake.params.items()), identities, paths)


def bind(function: Callable[..., None], snakemake: Any) -> dict[str, Any]:
    """Collect the arguments of a rule's function from a job."""
    arguments: dict[str, Any] = {}
    for part in (snakemake.input, snakemake.output, snakemake.params):
        arguments.update(part.items())
    for name, value in [*snakemake.input.items(), *snakemake.output.items()]:
        paths = [value] if isinstance(value, str) else list(value)
        if any(str(path).endswith(RECORD) for path in paths):
            made = [str(recorded_path(path)) for path in paths]
            arguments[name] = made[0] if isinstance(value, str) else made
    accepted = inspect.signature(function).parameters
    if "threads" in accepted:
        arguments["threads"] = snakemake.threads
    only_for_reruns = ("_digest", "_file")
    for name in [*arguments]:
        if name in ("code", CHANGED) or (name not in accepted and name.endswith(only_for_reruns)):
            del arguments[name]
    return arguments


def input_paths(inputs: Any) -> dict[str, str]:
    """Path of each input of a job, by its name; a list's are numbered. What only says that a file is stale is left out."""
    found = {}
    for name, value in inputs.items():
        paths = [value] if isinstance(value, str) else list(value)
        if name != CHANGED:
            found.update({name if len(paths) == 1 else f"{name}[{i}]": str(path) for i, path in enumerate(paths)})
    return found


def _log_to(path: str | None) -> None:
    """Send the library's log and all warnings to the job's log file."""
    handler: logging.Handler = logging.FileHandler(path, mode="w") if path else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.captureWarnings(True)
    for name in ("purelens", "py.warnings"):
        logging.getLogger(name).addHandler(handler)
    logger.setLevel(logging.INFO)


def _quiet_when_the_disk_is_full() -> None:
    """Send what HDF5 prints about each object that it could not write to the log only."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if "errno = 28" in str(error):
            logger.warning("%s", error)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook
    sys.unraisablehook = lambda failure: logger.warning("%s", failure.exc_value)


def _end_at_once(message: str) -> NoReturn:
    """End the process where it is: an exception could be swallowed by the library it lands in. No artifact suffers."""
    try:
        logger.error("%s", message)
        os.write(sys.stderr.fileno(), f"purelens: {message}\n".encode())
    finally:
        os._exit(1)


def _stop(message: str) -> NoReturn:
    """End the process with one line, in the log and on the terminal."""
    logger.error("%s", message)
    print(f"purelens: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
