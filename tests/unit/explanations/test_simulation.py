"""Shuffled words are the control of every score."""

from pathlib import Path

import numpy as np

from purelens.explanations.simulation import open_explanations, shuffled, simulations
from purelens.explanations.table import open_concepts
from support.explanations import N_IMAGES, NOISE, SINGLE, SUM, run_explain


def test_shuffled_words_are_those_of_all_other_neurons(labeled: Path, tmp_path: Path) -> None:
    scores = run_explain(labeled, tmp_path)
    control = scores[scores["method"] == "shuffled:le:labels"].set_index("neuron")["correlation"]
    assert set(control.index) == {SUM, SINGLE, NOISE}
    assert (control < 0.4).all()
    with (
        open_concepts(str(tmp_path / "labels.h5")) as ground_truth,
        open_explanations(
            str(tmp_path / "explanations.h5"), str(labeled / "activations.h5"), None, ground_truth
        ) as explanations,
    ):
        simulated = simulations(explanations, 0, ground_truth.probabilities(np.arange(N_IMAGES)))
        places, givers = shuffled(simulated, explanations.units, 20, 0)
        assert givers.shape == (2, 3)  # all the others, once each
        assert (givers != places).all()
        assert {tuple(sorted(column)) for column in givers.T} == {(SUM, SINGLE), (SUM, NOISE), (SINGLE, NOISE)}
