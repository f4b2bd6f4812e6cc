"""Virtual neurons add up to their neuron."""

from typing import Any

import numpy as np

from purelens.explanations.units import open_units
from purelens.storage.reading import read


def test_virtual_neurons_add_up_to_their_neuron(assigned: dict[str, Any]) -> None:
    with (
        open_units(assigned["activations_h5"], assigned["assignments_h5"]) as units,
        read(assigned["activations_h5"], "activations") as file,
    ):
        assert len(units) == 64 + 5 * 2
        values = units.activations(slice(0, len(units)), np.arange(40))
        for neuron in set(units.neuron[units.virtual_neuron >= 0].tolist()):
            children = np.flatnonzero((units.neuron == neuron) & (units.virtual_neuron >= 0))
            active = file["max"][:, neuron] > 0
            np.testing.assert_allclose(values[:, children].sum(axis=1)[active], file["mean"][:, neuron][active])
            assert not values[:, children].sum(axis=1)[~active].any()
