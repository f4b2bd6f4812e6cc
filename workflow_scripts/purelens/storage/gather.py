"""The rule ``gather``: the artifacts of the parts of a stage, put together."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purelens.errors import UserError
from purelens.storage.artifacts import Rows, Writer, read, storage_of, variables
from purelens.storage.provenance import Provenance, read_record, text
from purelens.storage.resumable import Work, resume

ROWS_AT_A_TIME = 256
OVER_IMAGES = ("activations", "effects")
"""Artifacts whose parts are of images; those of all others are of neurons."""

BASIS = ("basis", "head_block", "head_number")
"""What all parts of ``effects`` have in common."""

REFERENCES = ("reference_id", "reference_value", "reference_position")


def gather(shards: Sequence[str], gathered_h5: str, provenance: Provenance | None = None) -> None:
    """Put the parts of an artifact together: it is, byte for byte of its data, what one job would have made.

    Parts are of consecutive images (``effects``, and ``activations``, whose references are merged) or of consecutive neurons.

    Parameters
    ----------
    shards
        The artifacts of the parts, in their order.
    gathered_h5
        The artifact.
    provenance
        Says by which code they are put together.

    Raises
    ------
    UserError
        If the parts are not all there are, or not of the same artifact.
    """
    record = _common_record(shards, gathered_h5)
    record["how"]["gather"] = provenance.code if provenance else ""
    with h5py.File(shards[0], "r") as first:
        name, device = text(first, "schema"), text(first, "device")
    whole = Provenance(record["params"], record["code"], record["inputs"], record["how"])
    with ExitStack() as stack:
        parts = [stack.enter_context(read(path, name)) for path in shards]
        work = stack.enter_context(resume(gathered_h5, name, whole, device, storage_of(parts[0])))
        tables = _tables(parts[0], "image" if name in OVER_IMAGES else "neuron")
        work.define(lambda out: _define(out, name, parts, tables))
        for table in tables:
            _copy(work, parts, table)
        if name == "activations":
            _write_references(work, parts)
        work.finish()


def _common_record(shards: Sequence[str], gathered_h5: str) -> dict[str, Any]:
    """What all parts were made from."""
    records = [read_record(path) for path in shards]
    expected = [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]
    if [record and record["how"].get("shard") for record in records] != expected:
        raise UserError(f"{shards[0]} and the others are not parts 1 to {len(shards)} of one artifact; remove them")
    first = records[0]
    assert first is not None
    if any(record is None or record["identity"] != first["identity"] for record in records):
        raise UserError(f"{shards[0]} and the others were not made from the same inputs; remove them and run again")
    folder, home = Path(shards[0]).parent, Path(gathered_h5).parent
    paths = {name: os.path.relpath(folder / path, home) for name, path in first["how"].get("paths", {}).items()}
    return {**first, "how": {**first["how"], "shard": f"1-{len(shards)}/{len(shards)}", "paths": paths}}


def _tables(part: h5py.File, along: str) -> list[str]:
    """Names of the large tables whose first dimension the parts divide."""
    return [name for name in variables(part["checksum"]) if part[name].dims[0][0].name == f"/{along}"]


def _define(out: Writer, name: str, parts: Sequence[h5py.File], tables: Sequence[str]) -> None:
    """Lay the artifact out like its parts, its first dimension as long as all theirs."""
    first = parts[0]
    along = first[tables[0]].dims[0][0].name.lstrip("/")
    for dim, item in first.items():
        if isinstance(item, h5py.Dataset) and item.is_scale:
            out.coordinate(dim, np.concatenate([part[dim][...] for part in parts]) if dim == along else item[...])
    if along == "neuron":
        out.variable("reference_id", data=np.concatenate([part["reference_id"][...] for part in parts]))
    elif name == "activations":
        for table in REFERENCES:
            out.rows(table)
    else:
        for variable in BASIS:
            out.variable(variable, data=first[variable][...])
    for table in tables:
        out.rows(table, dims=tuple(dim[0].name.lstrip("/") for dim in first[table].dims))


def _copy(work: Work, parts: Sequence[h5py.File], table: str) -> None:
    done = 0
    for part in parts:
        rows = Rows(part, table)
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            values = rows[start : start + ROWS_AT_A_TIME]
            work.write(table, done + start + np.arange(len(values)), values)
        done += len(rows)


def _write_references(work: Work, parts: Sequence[h5py.File]) -> None:
    """Merge the references of parts of the images: value descending, equal values by image id."""
    every = slice(None)
    merged = {name: np.concatenate([Rows(part, name)[every] for part in parts], axis=1) for name in REFERENCES}
    # a stable sort keeps the images of earlier parts before those of later ones
    order = np.argsort(-merged["reference_value"], axis=1, kind="stable")[:, : len(parts[0]["reference"])]
    for name, values in merged.items():
        work.write(name, np.arange(len(values)), np.take_along_axis(values, order, axis=1))
