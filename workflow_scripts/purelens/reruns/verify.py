"""Check every file of a results folder: that it is whole, has a provenance record, and was made from the files beside it.

See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import json
import multiprocessing
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py

from purelens.errors import UserError
from purelens.progress import Progress
from purelens.storage.checksums import dims_of
from purelens.storage.files import find_unfinished
from purelens.storage.hdf5 import UNREADABLE, open_hdf5
from purelens.storage.paths import is_log, is_shard
from purelens.storage.provenance import CONTENTS, RECORD, Provenance, content_digest, read_record, record_path, text
from purelens.storage.reading import read
from purelens.storage.schemas import SCHEMAS
from purelens.storage.variables import Schema

SECONDS = 60
"""How long HDF5 may take to read the dimensions of a file: they have no checksums, and on damaged ones it may never return."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file.

    Attributes
    ----------
    path, what
        The file, and what is wrong with it.
    rebuild
        Whether it has to be made again; otherwise it can be removed.
    """

    path: Path
    what: str
    rebuild: bool = True


def verify(results: str | Path) -> tuple[int, list[Problem]]:
    """Check all files below a folder.

    Parameters
    ----------
    results
        A results folder, or a folder inside one.

    Returns
    -------
    tuple
        How many files were checked, and what is wrong.

    Raises
    ------
    UserError
        If there is no such folder.
    """
    if not Path(results).is_dir():
        raise UserError(f"verify: there is no folder {results}")
    files = list(_files(Path(results)))
    problems: list[Problem] = []
    with Progress(len(files), "verify", "files") as progress:
        for path in files:
            problems += [Problem(path, what) for what in _check(path, Path(results))]
            progress.advance(1)
    return len(files), problems + list(_leftovers(Path(results)))


def _files(results: Path) -> Iterator[Path]:
    """Yield all files and folders that rules made."""
    for root, folders, names in os.walk(results):
        recorded = {name.removesuffix(RECORD) for name in names if name.endswith(RECORD)}
        for name in sorted(folders):
            if name in recorded:
                yield Path(root) / name
        inside = (name for name in sorted(folders) if name not in recorded and not name.startswith("."))
        folders[:] = [name for name in inside if not is_log(results, Path(root) / name)]
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(RECORD):
                yield Path(root) / name


def _leftovers(results: Path) -> Iterator[Problem]:
    for path, _ in find_unfinished(results):
        yield Problem(path, "left by an interrupted job, or being written; the next run resumes or removes it", False)
    for path in sorted(results.rglob(f"*{RECORD}")):
        made = path.with_name(path.name.removesuffix(RECORD))
        if not made.exists():
            record = read_record(path) or {}
            what = "dangling: there is only its record"
            yield Problem(path, f"the folder {made.name} is not there") if record.get("folder") else Problem(made, what)


def _check(path: Path, results: Path) -> list[str]:
    """List what is wrong with a file."""
    if path.suffix == ".h5":
        damage = _damage(path)
        if damage:
            return damage
    record = read_record(path)
    if record is None:
        return ["it has no provenance record"]
    problems = []
    expected = Provenance(record["params"], record["code"], record["inputs"])
    if expected.fingerprint != record["fingerprint"]:
        problems.append("its fingerprint is not that of its provenance record")
    if "schema" not in record and content_digest(path) != record["content"]:
        problems.append("its bytes are not those that were recorded")
    return problems + _lineage(path, record, results)


def _damage(path: Path) -> list[str]:
    """Read an artifact from end to end."""
    try:
        with open_hdf5(path) as file:
            kind = text(file, "schema")
            if kind not in SCHEMAS:
                return [f"it is of an unknown kind, {kind!r}"]
            if int(file.attrs["schema_version"]) != SCHEMAS[kind].version:
                version = file.attrs["schema_version"]
                return [f"it is of version {version} of its schema; this is {SCHEMAS[kind].version}"]
        with read(path, kind) as artifact:
            artifact.check()
    except UserError as error:
        what = str(error).removeprefix(f"{path} ").partition("; rebuild it")[0]
        return [what.replace("is open", "it is open", 1).replace("cannot be read, it is damaged", "it is damaged", 1)]
    except UNREADABLE as error:
        return [_damaged(error)]
    return _in_time(path, SCHEMAS[kind])


def _damaged(error: Exception | str) -> str:
    return f"it is damaged ({' '.join(str(error).split())})"


def _in_time(path: Path, schema: Schema) -> list[str]:
    """Compare an artifact with its schema in a process of its own, which is killed when it takes too long."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=_compare, args=(path, schema, there))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(SECONDS) else [_damaged("its dimensions cannot be read")]
    except EOFError:
        return [_damaged("HDF5 crashed when it read its dimensions")]
    finally:
        process.kill()
        process.join()


def _compare(path: Path, schema: Schema, answer: Connection) -> None:
    try:
        with open_hdf5(path) as file:
            problems = _misfits(file, schema)
    except Exception as error:
        problems = [_damaged(error)]
    answer.send(problems)


def _misfits(file: h5py.File, schema: Schema) -> list[str]:
    """Compare the variables of an artifact with its schema."""
    problems = []
    for name, spec in schema.variables.items():
        group = name.removesuffix("/*")
        if group not in file:
            problems += [] if spec.optional else [f"it has no {group}"]
        elif group == name:
            dims = dims_of(file[name])
            if dims != spec.dims:
                problems.append(f"{name} is over {', '.join(dims)}, not {', '.join(spec.dims)}")
    return problems


def _lineage(path: Path, record: Mapping[str, Any], results: Path) -> list[str]:
    """Compare the inputs in the results folder with those that a file was made from."""
    problems = []
    for name, relative in record.get("execution", {}).get("paths", {}).items():
        source = Path(os.path.normpath(path.parent / relative))
        if not source.is_relative_to(os.path.normpath(results)) or is_shard(source):
            continue
        if not source.exists():
            problems.append(f"dangling: {source}, from which it was made, does not exist")
            continue
        current = read_record(source)  # a source without a record is a problem of its own
        if current is None:
            continue
        content = record["execution"].get(CONTENTS, {}).get(name, current["content"])
        if current["fingerprint"] != record["inputs"].get(name) or current["content"] != content:
            problems.append(f"{source} is not the file from which it was made")
    return problems


def _target(path: Path) -> str:
    """Return the path that Snakemake knows: that of a folder is its record."""
    return str(record_path(path) if path.is_dir() else path)


def report(n_files: int, problems: list[Problem]) -> str:
    """Write what was checked, what is wrong, and what to do."""
    lines = [f"{problem.path}: {problem.what}" for problem in problems]
    stale = sorted({_target(problem.path) for problem in problems if problem.rebuild})
    lines.append(f"{n_files} files checked, {len(stale)} to be rebuilt.")
    if stale:
        named = " ".join(map(shlex.quote, stale))
        lines.append(
            f"Rebuild, with the --configfile of the study: snakemake --cores all --resources gpu=1 --force {named}"
        )
    return "\n".join(lines)


def as_json(problems: list[Problem]) -> str:
    """Write the problems as JSON."""
    return json.dumps([{"path": str(p.path), "problem": p.what, "rebuild": p.rebuild} for p in problems], indent=2)
