"""Record what every file was made from, and refuse inputs that do not belong together.

An artifact carries its provenance record in its root attributes; anything else (a table, weights, a folder of figures) has it
in a file ``<name>.provenance.json`` beside it. The fingerprint of a file is the hash of what decides its contents: the
params, the code and the fingerprints of the inputs. See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import errno
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from purelens.errors import UserError
from purelens.storage.checksums import FINISHED, recorded_content
from purelens.storage.files import digest_of, read_text, write_json
from purelens.storage.hdf5 import open_hdf5, system_error
from purelens.storage.shards import NO_SHARDS

RECORD = ".provenance.json"
REBUILD = "snakemake --cores all --resources gpu=1 --force"

EXECUTION_PARAMETERS = ("device", "batch_size", "shard")
"""Params that say how a file is computed, not what is in it: they are recorded, but not part of the fingerprint."""

CONTENTS = "contents"
"""Entry of ``execution`` with the digests of what was in the inputs: a fingerprint knows only what they were made from."""

WATCH = "watch"
"""Name under which a rule lists files and digests that its function does not take, but that decide its result."""


@dataclass(frozen=True)
class Provenance:
    """What a file is made from.

    Attributes
    ----------
    params
        The configuration values that decide its contents.
    code
        Digest of the code that makes it.
    inputs
        Fingerprint of each input, by its name.
    execution
        How it was computed: execution parameters, the paths of the inputs and the digests of what is in them.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the contents of the file."""
        facts = [self.params, self.code, self.inputs]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """Return the provenance record, as plain values."""
        values = {"fingerprint": self.fingerprint, "params": self.params, "code": self.code, "inputs": self.inputs}
        return json.loads(json.dumps({**values, "execution": self.execution}, default=str))


@dataclass(frozen=True)
class Execution:
    """How a job computes. Nothing in it decides what an artifact holds.

    Attributes
    ----------
    device
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:1`` (see `purelens.networks.batching.choose_device`).
    batch_size
        Images per batch; None: chosen by the device.
    shard
        Which shard of the images or neurons the job computes, such as ``2/4``.
    threads
        CPU threads.
    provenance
        The record that its artifacts get.
    """

    device: str = "auto"
    batch_size: int | None = None
    shard: str = NO_SHARDS
    threads: int = 1
    provenance: Provenance = field(default_factory=Provenance)


DEFAULT_EXECUTION = Execution()
"""How a stage computes that is called as a function, not as a job."""


def provenance_of(
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    paths: Mapping[str, str] | None = None,
    contents: Mapping[str, str] | None = None,
    files: Collection[str] = (),
) -> Provenance:
    """Sort the params of a job into those that decide its result and those that do not.

    Parameters
    ----------
    params
        All params of the job, its code digest among them.
    inputs
        Fingerprint of each input, by its name.
    paths
        Path of each input, relative to the folder of the output.
    contents
        Digest of the data or bytes of each input.
    files
        Paths of the inputs as params spell them.

    Returns
    -------
    Provenance
        What the outputs of the job are made from.
    """
    plain = _without_places(json.loads(json.dumps(dict(params), default=str)), files)
    code = plain.pop("code", "")
    execution = {name: plain.pop(name) for name in EXECUTION_PARAMETERS if name in plain}
    if paths:
        execution["paths"] = dict(paths)
    if contents:
        execution[CONTENTS] = dict(contents)
    return Provenance(plain, code, dict(inputs), execution)


def _without_places(params: dict[str, Any], files: Collection[str]) -> dict[str, Any]:
    """Replace the names of files that are known by their bytes: where a file is decides no result."""
    watched = params.get(WATCH)
    digested = {key for key, digest in watched.items() if digest} if isinstance(watched, dict) else set()

    def plain(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: item if name == WATCH else plain(name, item) for name, item in value.items()}
        if isinstance(value, list):
            return [plain(key, item) for item in value]
        return _without_place(value) if isinstance(value, str) and (value in files or key in digested) else value

    replaced: dict[str, Any] = plain("", params)
    return replaced


def _without_place(name: str) -> str:
    """Keep what decides how a file is read: its suffix, the function in it, and the name that an HDF5 file gives its images."""
    file, colon, function = name.rpartition(":") if ".py:" in name else (name, "", "")
    suffix = Path(file).suffix
    return (Path(file).name if suffix in (".h5", ".hdf5") else suffix) + colon + function


def record_path(path: str | Path) -> Path:
    """Return the path of the record of a file that is not an artifact."""
    return Path(f"{path}{RECORD}")


def recorded_path(path: str | Path) -> Path:
    """Return what a declared output stands for: a record stands for its folder, anything else for itself.

    A rule that makes a folder declares its record, because Snakemake removes a declared folder before the job begins.
    """
    return Path(str(path).removesuffix(RECORD))


def write_record(path: str | Path, provenance: Provenance) -> None:
    """Write the record of a table, weights or a folder, with the digest of its bytes."""
    write_json(
        record_path(path), {**provenance.record(), "content": content_digest(path), "folder": Path(path).is_dir()}
    )


def content_digest(path: str | Path) -> str:
    """Digest the bytes of a file, or the names and bytes of all files in a folder except hidden ones."""
    path = Path(path)
    if not path.is_dir():
        return digest_of(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            digest.update(f"{file.relative_to(path).as_posix()}\0{content_digest(file)}\n".encode())
    return digest.hexdigest()


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Read the provenance record of a file.

    Returns
    -------
    dict
        The record, with the digest of the ``content``; an artifact's with the name and version of its ``schema`` and the time
        when it was ``finished``. None if there is none, or it is not one.

    Raises
    ------
    OSError
        If the system cannot read it; that says nothing of the file.
    """
    try:
        record = _of_artifact(path) if Path(path).suffix == ".h5" else _beside(path)
    except OSError as error:
        if system_error(error) not in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            raise
        return None
    except (KeyError, ValueError, RuntimeError, RecursionError, AttributeError, TypeError):
        return None
    return record if _is_record(record) else None


def _of_artifact(path: str | Path) -> dict[str, Any]:
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path} is no regular file")
    with open_hdf5(path) as file:
        return {
            **{name: json.loads(text(file, name)) for name in ("params", "inputs", "execution")},
            **{name: text(file, name) for name in ("fingerprint", "code")},
            "schema": (text(file, "schema"), int(file.attrs["schema_version"])),
            "content": recorded_content(file),
            FINISHED: float(file[FINISHED][()]),
        }


def _beside(path: str | Path) -> Any:
    record = json.loads(read_text(record_path(recorded_path(path))))
    # only an artifact has these: with them the bytes of a table would not be compared
    return (
        {key: v for key, v in record.items() if key not in ("schema", FINISHED)} if isinstance(record, dict) else None
    )


def _is_record(record: Any) -> bool:
    """Tell whether the values of a record have the types that `Provenance.record` gives them."""
    if not isinstance(record, dict):
        return False
    execution = record.get("execution")
    return (
        all(isinstance(record.get(name), str) for name in ("fingerprint", "code", "content"))
        and all(isinstance(record.get(name), dict) for name in ("params", "inputs"))
        and all(isinstance(value, str) for value in record["inputs"].values())
        and isinstance(execution, dict)
        and all(isinstance(execution.get(name, {}), dict) for name in ("paths", CONTENTS))
        and all(isinstance(value, str) for name in ("paths", CONTENTS) for value in execution.get(name, {}).values())
    )


def text(file: h5py.File, name: str) -> str:
    """Read a root attribute that is a text.

    Raises
    ------
    KeyError
        If there is none of that name.
    """
    value = file.attrs[name]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Lineage:
    """What the inputs of a job are.

    Attributes
    ----------
    fingerprints, contents
        Of each input, by its name: the hash of what it was made from, and the digest of what is in it.
    made
        The inputs that rules made; the others are files of the user's.
    """

    fingerprints: Mapping[str, str]
    contents: Mapping[str, str]
    made: Collection[str] = ()


def check_lineage(inputs: Mapping[str, str]) -> Lineage:
    """Refuse inputs that were not made from one another.

    Parameters
    ----------
    inputs
        Path of each input, by the name that all rules give it.

    Returns
    -------
    Lineage
        What they are.

    Raises
    ------
    UserError
        Naming the two files that do not fit, or the file whose bytes were changed.
    """
    records = {name: read_record(path) for name, path in inputs.items()}
    fingerprints, contents = {}, {}
    for name, path in inputs.items():
        record = records[name]
        # an artifact is compared with its digest as it is read (see `purelens.storage.reading`)
        is_artifact = record is not None and "schema" in record
        contents[name] = record["content"] if record and is_artifact else content_digest(recorded_path(path))
        if record and record["content"] != contents[name]:
            raise UserError(
                f"{path} has other bytes than those that were made; rebuild it: {REBUILD} {path}; or, if they are meant, "
                f"remove {record_path(path)}"
            )
        fingerprints[name] = record["fingerprint"] if record else contents[name]
    lineage = Lineage(fingerprints, contents, {name for name, record in records.items() if record})
    for name, record in records.items():
        for other in _misfits(record, lineage) if record else []:
            path = inputs[name]
            raise UserError(
                f"{path} was made from another {inputs[other]} than the one that is there ({name} and {other} do not "
                f"fit); rebuild it: {REBUILD} {path}"
            )
    return lineage


def _misfits(record: Mapping[str, Any], lineage: Lineage) -> list[str]:
    """List the inputs of a recorded file, by name, that are not what the file was made from."""
    recorded = record.get("execution", {}).get(CONTENTS, {})
    names = []
    for name, fingerprint in lineage.fingerprints.items():
        # watched files are of one rule only: the same name means another file in the next one
        if name in record["inputs"] and name.partition("[")[0] != WATCH:
            same_content = recorded.get(name, lineage.contents[name]) == lineage.contents[name]
            if record["inputs"][name] != fingerprint or not same_content:
                names.append(name)
    return names
