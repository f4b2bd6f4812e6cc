"""Record what every file was made from, and refuse inputs that do not belong together.

An artifact carries its provenance record in its root attributes; anything else (a table, weights, a folder of figures) has it
in a file ``<name>.provenance.json`` beside it. The fingerprint of a file is the hash of what decides its contents: the
params, the code and the fingerprints of the inputs. See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from purelens.errors import UserError
from purelens.storage.files import digest_of, write_json
from purelens.storage.hdf5 import open_hdf5
from purelens.storage.shards import NO_SHARDS

RECORD = ".provenance.json"
REBUILD = "snakemake --cores all --resources gpu=1 --force"

EXECUTION_PARAMETERS = ("device", "batch_size", "shard")
"""Params that say how a file is computed, not what is in it: they are recorded, but not part of the fingerprint."""

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
        How it was computed: execution parameters, and the paths of the inputs.
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
    params: Mapping[str, Any], inputs: Mapping[str, str], paths: Mapping[str, str] | None = None
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

    Returns
    -------
    Provenance
        What the outputs of the job are made from.
    """
    plain = json.loads(json.dumps(dict(params), default=str))
    code = plain.pop("code", "")
    execution = {name: plain.pop(name) for name in EXECUTION_PARAMETERS if name in plain}
    return Provenance(plain, code, dict(inputs), {**execution, **({"paths": dict(paths)} if paths else {})})


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
    """Read the provenance record of a file; None if there is none, or it cannot be read."""
    if Path(path).suffix == ".h5":
        try:
            with open_hdf5(path) as file:
                record: dict[str, Any] = {n: json.loads(text(file, n)) for n in ("params", "inputs", "execution")}
                schema = (text(file, "schema"), int(file.attrs["schema_version"]))
                return {
                    **record,
                    "fingerprint": text(file, "fingerprint"),
                    "code": text(file, "code"),
                    "schema": schema,
                }
        except (OSError, KeyError, ValueError, RuntimeError):
            return None
    try:
        record = json.loads(record_path(recorded_path(path)).read_text(encoding="utf-8"))
        return record if {"params", "inputs", "fingerprint", "code", "content"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def text(file: h5py.File, name: str) -> str:
    """Read a root attribute that is a text.

    Raises
    ------
    KeyError
        If there is none of that name.
    """
    value = file.attrs[name]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def check_lineage(inputs: Mapping[str, str]) -> dict[str, str]:
    """Refuse inputs that were not made from one another.

    Parameters
    ----------
    inputs
        Path of each input, by the name that all rules give it.

    Returns
    -------
    dict
        Fingerprint of each input, by its name.

    Raises
    ------
    UserError
        Naming the two files that do not fit, or the file whose bytes were changed.
    """
    records = {name: read_record(path) for name, path in inputs.items()}
    fingerprints = {}
    for name, path in inputs.items():
        record = records[name]
        content = content_digest(recorded_path(path)) if record is None or "content" in record else ""
        if record and record.get("content", "") != content:
            raise UserError(
                f"{path} has other bytes than those that were made; rebuild it: {REBUILD} {path}; or, if they are meant, "
                f"remove {record_path(path)}"
            )
        fingerprints[name] = record["fingerprint"] if record else content
    for name, record in records.items():
        for other, fingerprint in (record or {"inputs": {}})["inputs"].items():
            # watched files are of one rule only: the same name means another file in the next one
            if other in inputs and other.partition("[")[0] != WATCH and fingerprints[other] != fingerprint:
                path = inputs[name]
                raise UserError(
                    f"{path} was made from another {inputs[other]} than the one that is there ({name} and {other} do not "
                    f"fit); rebuild it: {REBUILD} {path}"
                )
    return fingerprints
