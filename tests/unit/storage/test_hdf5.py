"""Files that another program has open."""

from pathlib import Path

import h5py
import pytest

from purelens.errors import UserError
from purelens.storage.artifacts import create
from purelens.storage.hdf5 import open_hdf5
from purelens.storage.provenance import read_record
from purelens.storage.reading import read
from support.elsewhere import open_elsewhere


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    with create(tmp_path / "a.h5", "iou") as out:
        for name, values in (("neuron", 2), ("concept", 1)):
            out.coordinate(name, values)
        out.variable("concept_label", data=["x"])
        out.variable("iou", data=[[0.5], [0.25]])
    return tmp_path / "a.h5"


def test_a_reader_elsewhere_does_not_matter(artifact: Path) -> None:
    with open_elsewhere(artifact, "r"), read(artifact, "iou") as file:
        assert file["iou"][0, 0] == 0.5


def test_a_writer_elsewhere_is_no_damage(artifact: Path) -> None:
    """The message does not ask for a rebuild, and a plan does not either."""
    with open_elsewhere(artifact, "r+"):
        for attempt in (
            lambda: open_hdf5(artifact),
            lambda: read(artifact, "iou").__enter__(),
            lambda: read_record(artifact),
        ):
            with pytest.raises(
                UserError, match="a.h5 is open for writing in another program; close it there"
            ) as caught:
                attempt()
            assert "rebuild" not in str(caught.value)
    assert read_record(artifact) is not None


def test_damage_is_an_error_of_the_file(artifact: Path) -> None:
    artifact.write_bytes(artifact.read_bytes()[:100])
    with pytest.raises(OSError, match="truncated"):
        open_hdf5(artifact)
    with h5py.File(artifact.with_name("b.h5"), "w"):
        pass
    open_hdf5(artifact.with_name("b.h5")).close()
