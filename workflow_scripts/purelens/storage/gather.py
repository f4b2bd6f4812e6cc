"""The rule ``gather``: put the shards of an artifact together.

See invariant 6 (shards) in ``docs/reruns.md``.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from purelens.errors import UserError
from purelens.storage.artifacts import Writer
from purelens.storage.hdf5 import open_hdf5
from purelens.storage.provenance import DEFAULT_EXECUTION, Execution, Provenance, read_record, text
from purelens.storage.reading import Artifact, read, strings
from purelens.storage.resumable import Work, resume

ROWS_AT_A_TIME = 256
OVER_IMAGES = ("activations", "effects")
"""Artifacts whose shards are of images; those of all others are of neurons."""

COMMON = ("basis", "head_block", "head_number")
"""Variables of ``effects`` that are equal in all shards."""

REFERENCE_TABLES = ("reference_id", "reference_value", "reference_position")


def gather(shards: Sequence[str], gathered_h5: str, execution: Execution = DEFAULT_EXECUTION) -> None:
    """Put the shards of an artifact together: byte for byte the data that one job would have made.

    Parameters
    ----------
    shards
        The artifacts of the shards, in their order: consecutive images (``activations``, whose references are merged, and
        ``effects``) or consecutive neurons (all others).
    gathered_h5
        The artifact.
    execution
        Says by which code they are put together.

    Raises
    ------
    UserError
        If shards are missing, or not of the same artifact.
    """
    record = _common_record(shards, gathered_h5)
    record["execution"]["gather"] = execution.provenance.code
    with open_hdf5(shards[0]) as first:
        name, device = text(first, "schema"), text(first, "device")
    whole = Provenance(record["params"], record["code"], record["inputs"], record["execution"])
    with ExitStack() as stack:
        files = [stack.enter_context(read(path, name)) for path in shards]
        work = stack.enter_context(resume(gathered_h5, name, whole, device, files[0].storage))
        tables = _tables(files[0], "image" if name in OVER_IMAGES else "neuron")
        work.define(lambda out: _define(out, name, files, tables))
        for table in tables:
            _copy(work, files, table)
        if name == "activations":
            _write_references(work, files)
        work.finish()


def _common_record(shards: Sequence[str], gathered_h5: str) -> dict[str, Any]:
    """Check that the shards are all shards of one artifact, and return what it is made from."""
    records = [read_record(path) for path in shards]
    expected = [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]
    if [record and record["execution"].get("shard") for record in records] != expected:
        raise UserError(f"{shards[0]} and the others are not shards 1 to {len(shards)} of one artifact; remove them")
    first = records[0]
    assert first is not None
    if any(record is None or record["fingerprint"] != first["fingerprint"] for record in records):
        raise UserError(f"{shards[0]} and the others were not made from the same inputs; remove them and run again")
    folder, home = Path(shards[0]).parent, Path(gathered_h5).parent
    paths = {name: os.path.relpath(folder / path, home) for name, path in first["execution"].get("paths", {}).items()}
    execution = {**first["execution"], "shard": f"1-{len(shards)}/{len(shards)}", "paths": paths}
    return {**first, "execution": execution}


def _tables(file: Artifact, along: str) -> list[str]:
    """List the large tables whose first dimension is divided among the shards."""
    return [name for name in file.tables if file[name].dims[0] == along]


def _define(out: Writer, name: str, shards: Sequence[Artifact], tables: Sequence[str]) -> None:
    """Lay the artifact out like its shards, its first dimension as long as all theirs."""
    first = shards[0]
    along = first[tables[0]].dims[0]
    for dim in first.dims:
        values = first[dim][...]
        out.coordinate(dim, np.concatenate([shard[dim][...] for shard in shards]) if dim == along else values)
    if along == "neuron":
        out.variable("reference_id", data=np.concatenate([shard["reference_id"][...] for shard in shards]))
        for variable in sorted({*first.variables} - {*first.dims, *tables, "reference_id"}):
            common = first[variable]
            is_text = out.spec(variable).dtype == "str"
            out.variable(variable, dims=common.dims, data=strings(common) if is_text else common[...])
    elif name == "activations":
        for table in REFERENCE_TABLES:
            out.rows(table)
    else:
        for variable in COMMON:
            out.variable(variable, data=first[variable][...])
    for table in tables:
        out.rows(table, dims=first[table].dims)


def _copy(work: Work, shards: Sequence[Artifact], table: str) -> None:
    done = 0
    for shard in shards:
        rows = shard[table]
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            values = rows[start : start + ROWS_AT_A_TIME]
            work.write(table, done + start + np.arange(len(values)), values)
        done += len(rows)


def _write_references(work: Work, shards: Sequence[Artifact]) -> None:
    """Merge the references of shards of the images: value descending, equal values by image id."""
    every = slice(None)
    merged = {name: np.concatenate([shard[name][every] for shard in shards], axis=1) for name in REFERENCE_TABLES}
    # a stable sort keeps the images of earlier shards before those of later ones
    order = np.argsort(-merged["reference_value"], axis=1, kind="stable")[:, : len(shards[0]["reference"])]
    for name, values in merged.items():
        work.write(name, np.arange(len(values)), np.take_along_axis(values, order, axis=1))
