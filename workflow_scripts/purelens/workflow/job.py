"""Run a function of the library as the job of a rule."""

import inspect
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from purelens.errors import UserError
from purelens.reruns.staleness import FORCED
from purelens.storage.locks import writing
from purelens.storage.provenance import (
    CONTENTS,
    EXECUTION_PARAMETERS,
    WATCH,
    Execution,
    Provenance,
    check_lineage,
    content_digest,
    provenance_of,
    read_record,
    recorded_path,
    write_record,
)
from purelens.storage.reading import checked_content
from purelens.storage.schemas import SCHEMAS
from purelens.workflow.malloc import keep_freed_memory
from purelens.workflow.parent import end_with_the_run
from purelens.workflow.seeding import seed_everything

logger = logging.getLogger("purelens")

CHANGED = "changed"
"""The input of every rule that says why its output is stale (see invariant 3, marks, in ``docs/reruns.md``)."""

NOT_ARGUMENTS = (CHANGED, WATCH, "code")
"""Inputs and params of rules that no function takes."""


def run(function: Callable[..., None], snakemake: Any) -> None:
    """Call ``function`` with the inputs, outputs and params of a Snakemake job.

    Sets up the log file, the seeds and the number of threads, refuses inputs that were not made from one another, and writes
    the provenance records of the outputs. A ``UserError`` ends the job with one line, and so does a signal to stop.

    Parameters
    ----------
    function
        The library function of the rule (see `bind`).
    snakemake
        The object that Snakemake gives to a script.
    """
    signal.signal(signal.SIGTERM, lambda *_: _end_at_once(f"{snakemake.rule}: told to stop (SIGTERM)"))
    end_with_the_run(lambda message: _end_at_once(f"{snakemake.rule}: {message}"))
    try:
        with writing(recorded_path(path) for path in snakemake.output):
            # after the lock: the log is that of the job that writes
            _log_to(snakemake.log[0] if snakemake.log else None)
            _run_alone(function, snakemake)
    except UserError as error:
        _stop(f"{snakemake.rule}: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _stop(f"{snakemake.rule}: {error}")


def _run_alone(function: Callable[..., None], snakemake: Any) -> None:
    """Run a job that holds the locks of its outputs."""
    started = time.perf_counter()
    _check_checkout(Path(snakemake.scriptdir))
    provenance = _provenance(snakemake)
    arguments = bind(function, snakemake, provenance)
    outputs = [str(path) for path in snakemake.output]
    marks = snakemake.input.get(CHANGED, [])
    reasons = [Path(mark).name for mark in ([marks] if isinstance(marks, str) else marks)]
    if reasons and FORCED not in reasons and all(_is_made(path, provenance) for path in outputs):
        for path in outputs:
            os.utime(path)  # Snakemake fails a job whose output is older than its inputs
        logger.info("%s: nothing to do: its inputs hold the same as when it was made", snakemake.rule)
        return
    seed_everything(snakemake.params.get("seed", 0), snakemake.threads)
    keep_freed_memory()
    function(**arguments)
    for path in outputs:
        if not path.endswith(".h5"):
            write_record(recorded_path(path), provenance)
    logger.info("%s: done in %.2f s", snakemake.rule, time.perf_counter() - started)


def _is_made(path: str, provenance: Provenance) -> bool:
    """Tell whether an output is there, whole, and made from inputs that held what they hold now."""
    record = read_record(path) if recorded_path(path).exists() else None
    if record is None or record["fingerprint"] != provenance.fingerprint:
        return False
    if record["execution"].get(CONTENTS) != provenance.execution.get(CONTENTS):
        return False
    if "schema" in record:
        kind, version = record["schema"]
        return kind in SCHEMAS and SCHEMAS[kind].version == version and checked_content(path) == record["content"]
    return content_digest(recorded_path(path)) == record["content"]


def _check_checkout(scripts: Path) -> None:
    """Check that this library is the one beside the script, whose code the records name."""
    imported = Path(__file__).resolve().parents[1]
    beside = (scripts / "purelens").resolve()
    if beside.is_dir() and beside != imported:
        raise UserError(
            f"the job imports the code of {imported}, but the workflow is that of {beside}; unset PYTHONPATH"
        )


def _provenance(snakemake: Any) -> Provenance:
    """Collect what the outputs of a job are made from; refuse inputs that were not made from one another."""
    folder = Path(snakemake.output[0]).parent if snakemake.output else Path()
    inputs = input_paths(snakemake.input)
    lineage = check_lineage(inputs)
    # where the user keeps files is nobody else's business: results are shared
    paths = {name: os.path.relpath(inputs[name], folder) for name in inputs if name in lineage.made}
    return provenance_of(dict(snakemake.params.items()), lineage.fingerprints, paths, lineage.contents, inputs.values())


def bind(function: Callable[..., None], snakemake: Any, provenance: Provenance | None = None) -> dict[str, Any]:
    """Collect the arguments of a rule's function from a job, by their names.

    A parameter that is a dataclass takes the param of its name, a mapping, or else all inputs and params that have the names of
    its fields. `Execution` takes the execution parameters, the threads and the record.

    Parameters
    ----------
    function
        The library function of the rule.
    snakemake
        The object that Snakemake gives to a script.
    provenance
        The record that the job's artifacts get.

    Returns
    -------
    dict
        Arguments by name.

    Raises
    ------
    TypeError
        If the function does not take an input, output or param of the rule.
    """
    given = _given(snakemake)
    types = get_type_hints(function)
    arguments: dict[str, Any] = {}
    taken = set()
    for name in inspect.signature(function).parameters:
        kind: Any = types[name]
        if kind is Execution:
            arguments[name], names = _execution(given, snakemake.threads, provenance or Provenance())
        elif name == "threads":
            arguments[name], names = snakemake.threads, set()
        elif name in given and not is_dataclass(kind):
            arguments[name], names = given[name], {name}
        elif is_dataclass(kind) and isinstance(kind, type):
            names = {name} if name in given else {field.name for field in fields(kind)} & given.keys()
            arguments[name] = kind(**(given[name] if name in given else {name: given[name] for name in names}))
        else:
            continue  # the function has a default
        taken |= names
    if given.keys() - taken:
        raise TypeError(f"{function.__name__} does not take {', '.join(sorted(given.keys() - taken))} of its rule")
    return arguments


def _given(snakemake: Any) -> dict[str, Any]:
    """Collect the inputs, outputs and params of a job that are arguments; a record stands for the folder it is of."""
    files = {
        name: str(recorded_path(value)) if isinstance(value, str) else [str(recorded_path(path)) for path in value]
        for name, value in [*snakemake.input.items(), *snakemake.output.items()]
    }
    given = files | dict(snakemake.params.items())
    return {name: value for name, value in given.items() if name not in NOT_ARGUMENTS}


def _execution(given: Mapping[str, Any], threads: int, provenance: Provenance) -> tuple[Execution, set[str]]:
    """Collect how a job computes, and the names of the params that say it."""
    names = set(EXECUTION_PARAMETERS) & given.keys()
    return Execution(**{name: given[name] for name in names}, threads=threads, provenance=provenance), names


def input_paths(inputs: Any) -> dict[str, str]:
    """Return the path of each input of a job by its name, those of a list numbered; marks are no inputs."""
    paths = {}
    for name, value in inputs.items():
        files = [value] if isinstance(value, str) else list(value)
        if name != CHANGED:
            paths.update({name if len(files) == 1 else f"{name}[{i}]": str(path) for i, path in enumerate(files)})
    return paths


def _log_to(path: str | None) -> None:
    """Send the library's log and all warnings to the job's log file."""
    handler: logging.Handler = logging.FileHandler(path, mode="w") if path else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # the log may be on a disk that is full
    for name in ("purelens", "py.warnings"):
        logging.getLogger(name).addHandler(handler)
    logger.setLevel(logging.INFO)


def _end_at_once(message: str) -> NoReturn:
    """End the process without an exception, which the library that it lands in could swallow; no artifact suffers."""
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
