"""Maps of references are reproducible, and thumbnails do not cover each other."""

from pathlib import Path

import h5py
import numpy as np

from purelens.circuits.projections import projections, spread_out
from support.pages import MadeUpLayer


def test_places_in_the_plane(layer: tuple[MadeUpLayer, Path], tmp_path: Path) -> None:
    made, _ = layer
    again = str(tmp_path / "p.h5")
    projections(made.path("relevances"), again, "layer1", neighbors=made.n_references)
    with (
        h5py.File(made.path("projections")) as one,
        h5py.File(again) as other,
        h5py.File(made.path("relevances")) as file,
    ):
        place = other["position"][...]
        assert np.isnan(place[file["reference_id"][...] < 0]).all()
        assert np.isfinite(place[file["reference_id"][...] >= 0]).all()
        assert one["position"][...].tobytes() == place.tobytes()


def test_thumbnails_do_not_cover_each_other() -> None:
    points = np.random.default_rng(0).random((12, 2)) * 0.05
    places = spread_out(points, 0.1)
    apart = np.abs(places[:, None] - places[None]).max(axis=2) + np.eye(12)
    assert apart.min() > 0.08
