"""References do not depend on the batches."""

import pytest
import torch

from purelens.bench.reference import circuits
from purelens.circuits.topk import References


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_any_batches_give_the_definition(seed: int, batch_size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-3, 6, (50, 8), generator=generator).float() / 2
    values[:, 3] = -1
    positions = torch.randint(0, 9, (50, 8), generator=generator)
    references = References(8, 12)
    for start in range(0, 50, batch_size):
        stop = start + batch_size
        references.update(start, values[start:stop], positions[start:stop])
    assert references.image_id.tolist() == circuits.references(values, 12)
    for neuron in range(8):
        for rank, image in enumerate(references.image_id[neuron].tolist()):
            assert references.value[neuron, rank] == (values[image, neuron] if image >= 0 else 0)
            assert references.position[neuron, rank] == (positions[image, neuron] if image >= 0 else -1)


def test_a_dead_neuron_has_no_references() -> None:
    references = References(1, 3)
    references.update(0, torch.zeros(5, 1), torch.zeros(5, 1))
    assert references.image_id.tolist() == [[-1, -1, -1]]


def test_going_on_from_a_saved_state_changes_nothing() -> None:
    values, positions = torch.rand(40, 3).round(decimals=1), torch.randint(0, 9, (40, 3))
    whole = References(3, 6)
    whole.update(0, values, positions)
    begun = References(3, 6)
    begun.update(0, values[:25], positions[:25])
    resumed = References.of(begun.state())
    resumed.update(25, values[25:], positions[25:])
    for name, array in whole.state().items():
        assert (resumed.state()[name] == array).all()
