"""Artifacts: xarray reads them, damage is noticed, and a failed write leaves the old one."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from purelens.errors import UserError
from purelens.storage.artifacts import create
from purelens.storage.files import write_json
from purelens.storage.provenance import Provenance
from purelens.storage.reading import read, strings


def write(path: Path, **provenance: object) -> None:
    with create(path, "embeddings", Provenance(**provenance), "cpu") as out:  # type: ignore[arg-type]
        out.coordinate("neuron", np.array([3, 7]))
        out.coordinate("reference", 4)
        out.coordinate("component", 5)
        out.variable("reference_id", data=np.arange(8).reshape(2, 4))
        out.variable("embedding", data=np.arange(40.0).reshape(2, 4, 5))


def test_xarray_reads_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", params={"seed": 4, "size": 3}, code="abc")
    with xarray.open_dataset(tmp_path / "a.h5", engine="h5netcdf") as stored:
        assert stored["embedding"].dims == ("neuron", "reference", "component")
        assert stored["embedding"].sel(neuron=7, reference=2, component=1) == 31
        assert stored["embedding"].attrs["description"].startswith("embedding of the patch")
        assert stored.attrs["schema"] == "embeddings"
        assert stored.attrs["params"] == '{"seed": 4, "size": 3}'
        assert stored.attrs["seed"] == 4


def test_every_dataset_has_a_checksum_and_a_description(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        for name in set(file) - {"checksum", "content", "finished"}:
            assert f"checksum/{name}" in file, name
            assert file[name].attrs["description"], name
            assert file[name].attrs["units"], name


def test_a_failed_write_leaves_the_old_artifact(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), create(path, "embeddings") as out:
        out.coordinate("neuron", 2)
        raise RuntimeError("disk full")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"", "damaged or not an HDF5 file"),
        (lambda b: b"plain text", "damaged or not an HDF5 file"),
        (lambda b: b[: len(b) // 2], "damaged"),
    ],
)
def test_damaged_artifacts_are_refused(tmp_path: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.h5"
    write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"{message}.*snakemake --cores all --resources gpu=1 --force .*a.h5"):
        with read(path, "embeddings") as file:
            file["embedding"][...]


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path)
    content = bytearray(path.read_bytes())
    place = content.index(np.arange(40.0, dtype="f4").tobytes()) + 50
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read, it is damaged"), read(path, "embeddings") as file:
        file["embedding"][...]


def test_another_artifact_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    with (
        pytest.raises(UserError, match="of kind embeddings version 2, not patches"),
        read(tmp_path / "a.h5", "patches"),
    ):
        pass
    with pytest.raises(UserError, match="does not exist; rebuild"), read(tmp_path / "b.h5", "patches"):
        pass


def test_text_survives(tmp_path: Path) -> None:
    texts = ["", "nan", "None", "naïve 🌳", "a\tb", "<b>", "x" * 300]
    with create(tmp_path / "a.h5", "dataset") as out:
        out.coordinate("class", len(texts))
        out.coordinate("rejected", 0)
        out.variable("class_name", data=texts)
        out.variable("rejected_path", data=[])
    with h5py.File(tmp_path / "a.h5") as file:
        assert strings(file["class_name"]) == texts
        assert strings(file["rejected_path"]) == []


def test_what_a_killed_job_left_behind_is_removed(tmp_path: Path) -> None:
    for name in (".a.h5.part", ".a.h5.checkpoint", ".b.h5.part"):
        (tmp_path / name).write_text("left")
    write(tmp_path / "a.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.h5.part", "a.h5"]


def test_json_is_written_whole(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_read_in_single(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 12, dtype="f4").reshape(3, 4)
    for storage in ("half", "single"):
        with create(tmp_path / storage, "activations", storage=storage) as out:
            out.coordinate("image", 3)
            out.coordinate("neuron", 4)
            out.variable("mean", data=values)
        with read(tmp_path / storage, "activations") as file:
            assert file["mean"].dtype.itemsize == (2 if storage == "half" else 4)
            assert file.storage == storage
            stored = file["mean"][0:3]
        assert stored.dtype == np.float32
        np.testing.assert_allclose(stored, values, rtol=2**-11 if storage == "half" else 0)


def test_scattered_rows_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("purelens.storage.reading.WINDOW_BYTES", 3 * 4 * 4)
    values = np.arange(44, dtype="f4").reshape(11, 4)
    with create(tmp_path / "a.h5", "activations") as out:
        out.coordinate("image", 11)
        out.coordinate("neuron", 4)
        out.variable("mean", data=values)
    rows, columns = np.array([0, 1, 5, 8, 10]), np.array([3, 0])
    with read(tmp_path / "a.h5", "activations") as file:
        table = file["mean"]
        np.testing.assert_array_equal(table.take(rows), values[rows])
        np.testing.assert_array_equal(table.take(rows, columns), values[rows][:, columns])
        assert table.take(rows[:0], columns).shape == (0, 2)
