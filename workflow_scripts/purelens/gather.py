"""The rule ``gather``: the artifacts of the parts of a stage, put together."""

from collections.abc import Sequence
from contextlib import ExitStack

import h5py
import numpy as np

from purelens.artifacts import Rows, Writer, read
from purelens.errors import UserError
from purelens.provenance import Provenance, read_record
from purelens.resumable import Work, resume

ROWS_AT_A_TIME = 256
REFERENCES = ("reference_id", "reference_value", "reference_position")


def gather(shards: Sequence[str], gathered_h5: str) -> None:
    """Put the parts of an artifact together: it is, byte for byte of its data, what one job would have made.

    Parts are of consecutive images (``activations``, whose references are merged) or of consecutive neurons.

    Parameters
    ----------
    shards
        The artifacts of the parts, in their order.
    gathered_h5
        The artifact.

    Raises
    ------
    UserError
        If the parts are not all there are, or not of the same artifact.
    """
    record = _common_record(shards)
    with h5py.File(shards[0], "r") as first:
        name, device = str(first.attrs["schema"]), str(first.attrs["device"])
    provenance = Provenance(record["params"], record["code"], record["inputs"], record["how"])
    with ExitStack() as stack:
        parts = [stack.enter_context(read(path, name)) for path in shards]
        work = stack.enter_context(resume(gathered_h5, name, provenance, device))
        tables = _tables(parts[0])
        work.define(lambda out: _define(out, parts, tables))
        for table in tables:
            _copy(work, parts, table)
        work.finish((lambda out: _write_references(out, parts)) if name == "activations" else None)


def _common_record(shards: Sequence[str]) -> dict:
    """What all parts were made from."""
    records = [read_record(path) for path in shards]
    expected = [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]
    if [record and record["how"].get("shard") for record in records] != expected:
        raise UserError(f"{shards[0]} and the others are not parts 1 to {len(shards)} of one artifact; remove them")
    first = records[0]
    assert first is not None
    if any(record is None or record["identity"] != first["identity"] for record in records):
        raise UserError(f"{shards[0]} and the others were not made from the same inputs; remove them and run again")
    return {**first, "how": {**first["how"], "shard": f"1-{len(shards)}/{len(shards)}"}}


def _tables(part: h5py.File) -> list[str]:
    """Names of the large tables: those with checksums of rows."""
    found: list[str] = []
    part["checksum"].visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def _define(out: Writer, parts: Sequence[h5py.File], tables: Sequence[str]) -> None:
    """Lay the artifact out like its parts, its first dimension as long as all theirs."""
    first = parts[0]
    along = first[tables[0]].dims[0][0].name.lstrip("/")
    for name, item in first.items():
        if isinstance(item, h5py.Dataset) and item.is_scale:
            out.coordinate(name, np.concatenate([part[name][...] for part in parts]) if name == along else item[...])
    if along == "neuron":
        out.variable("reference_id", data=np.concatenate([part["reference_id"][...] for part in parts]))
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


def _write_references(out: Writer, parts: Sequence[h5py.File]) -> None:
    """Merge the references of parts of the images: value descending, equal values by image id."""
    merged = {name: np.concatenate([part[name][...] for part in parts], axis=1) for name in REFERENCES}
    # a stable sort keeps the images of earlier parts before those of later ones
    order = np.argsort(-merged["reference_value"], axis=1, kind="stable")[:, : len(out["reference"])]
    for name, values in merged.items():
        out.variable(name, data=np.take_along_axis(values, order, axis=1))
