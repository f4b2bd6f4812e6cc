"""What a file was made from: recorded with every file that a rule makes, and compared before the file is used.

An artifact carries its record in its root attributes, anything else (a table, weights, a folder of figures) in a file
``<name>.provenance.json`` beside it.
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

RECORD = ".provenance.json"
REBUILD = "snakemake --cores all --resources gpu=1 --force"
HOW = ("device", "batch_size", "shard")
"""Params that say how something is computed, not what."""


@dataclass(frozen=True)
class Provenance:
    """What a file is made from.

    Attributes
    ----------
    params
        The configuration leaves that decide its contents.
    code
        Digest of the code that makes it.
    inputs
        Identity of each input, by its name.
    how
        Where and how it was computed.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Digest of everything that decides the contents of the file."""
        facts = [self.params, self.code, self.inputs]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """What is stored with the file, as plain values."""
        values = {"identity": self.identity, "params": self.params, "code": self.code, "inputs": self.inputs}
        return json.loads(json.dumps({**values, "how": self.how}, default=str))


def provenance_of(
    params: Mapping[str, Any], inputs: Mapping[str, str], paths: Mapping[str, str] | None = None
) -> Provenance:
    """Sort the params of a job.

    Parameters
    ----------
    params
        All params of the job, its digest of the code among them.
    inputs
        Identity of each input, by its name.
    paths
        Path of each input, relative to the folder of the output.
    """
    plain = json.loads(json.dumps(dict(params), default=str))
    code = plain.pop("code", "")
    how = {name: plain.pop(name) for name in HOW if name in plain}
    return Provenance(plain, code, dict(inputs), {**how, **({"paths": dict(paths)} if paths else {})})


def record_path(path: str | Path) -> Path:
    """Where the record of a file that is not an artifact lies."""
    return Path(f"{path}{RECORD}")


def recorded_path(path: str | Path) -> Path:
    """What a path stands for: a record stands for the folder that it is of, anything else for itself.

    A rule that makes a folder declares its record, because Snakemake removes a declared folder before the job begins.
    """
    return Path(str(path).removesuffix(RECORD))


def write_record(path: str | Path, provenance: Provenance) -> None:
    """Record what a table, weights or a folder was made from, with the digest of its bytes."""
    write_json(
        record_path(path), {**provenance.record(), "content": content_digest(path), "folder": Path(path).is_dir()}
    )


def content_digest(path: str | Path) -> str:
    """Digest the bytes of a file, or the names and bytes of all files in a folder but hidden ones."""
    path = Path(path)
    if not path.is_dir():
        return digest_of(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            digest.update(f"{file.relative_to(path).as_posix()}\0{content_digest(file)}\n".encode())
    return digest.hexdigest()


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Read what a file says it was made from; None if it does not say, or cannot be read."""
    if Path(path).suffix == ".h5":
        try:
            with h5py.File(path, "r") as file:
                record: dict[str, Any] = {name: json.loads(text(file, name)) for name in ("params", "inputs", "how")}
                schema = (text(file, "schema"), int(file.attrs["schema_version"]))
                return {**record, "identity": text(file, "identity"), "code": text(file, "code"), "schema": schema}
        except (OSError, KeyError, ValueError, RuntimeError):
            return None
    try:
        record = json.loads(record_path(recorded_path(path)).read_text(encoding="utf-8"))
        return record if {"params", "inputs", "identity", "code", "content"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def text(file: h5py.File, name: str) -> str:
    """Read a root attribute that is a text; KeyError if there is none."""
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
        Identity of each input, by its name.

    Raises
    ------
    UserError
        Naming the two files that do not fit.
    """
    records = {name: read_record(path) for name, path in inputs.items()}
    identities = {}
    for name, path in inputs.items():
        record = records[name]
        content = content_digest(recorded_path(path)) if record is None or "content" in record else ""
        if record and record.get("content", "") != content:
            raise UserError(
                f"{path} has other bytes than those that were made; rebuild it: {REBUILD} {path}; or, if they are meant, "
                f"remove {record_path(path)}"
            )
        identities[name] = record["identity"] if record else content
    for name, record in records.items():
        for other, identity in (record or {"inputs": {}})["inputs"].items():
            if other in inputs and not other.endswith("_file") and identities[other] != identity:
                path = inputs[name]
                raise UserError(
                    f"{path} was made from another {inputs[other]} than the one that is there ({name} and {other} do not "
                    f"fit); rebuild it: {REBUILD} {path}"
                )
    return identities
