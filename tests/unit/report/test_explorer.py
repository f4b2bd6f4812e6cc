"""The explorer in one file takes the neurons with the largest gaps."""

from pathlib import Path

from purelens.report.data import read_data
from purelens.report.explorer import take_best
from support.pages import MadeUpLayer


def test_one_file_takes_the_best_neurons(layer: tuple[MadeUpLayer, Path]) -> None:
    _, folder = layer
    whole = read_data(folder / "layer.js")
    everything = "".join(take_best([whole], [str(folder)], 10**9))
    assert everything.count("/neurons/") == 5 + 4  # data of all, pictures of those that are not dead
    gaps = whole["table"]["gap"]["2"]
    best = max((row for row in range(5) if gaps[row] is not None), key=lambda row: gaps[row])
    size = sum(map(len, take_best([whole], [str(folder)], 10**9)[:-1]))
    some = take_best([whole], [str(folder)], size // 2)
    assert f"/neurons/{best}" in some[0]
    assert '"left_out":' in some[-1]
    assert 0 < sum(".jpg" in script and "/neurons/" in script for script in some) < 4
    assert not any("/images/" in script for script in take_best([whole], [str(folder)], 10**9, whole_images=False))
    (none,) = take_best([whole], [str(folder)], 1)
    assert '"left_out":5' in none
