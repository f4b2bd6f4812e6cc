"""What splits a neuron in two: regression where there are enough references, else k-means."""

import numpy as np

from purelens.circuits.methods import JOINT
from purelens.circuits.representations import Representations
from purelens.circuits.splitting import FEWEST, Splitter
from purelens.circuits.views import view_grams
from purelens.numerics.agreement import adjusted_rand_index
from purelens.numerics.clustering import in_order_of_size, k_means
from purelens.numerics.ridge_split import split_in_two

COUNTS = (FEWEST, FEWEST - 1, 3, 50)
SEEDS = [[0, neuron] for neuron in range(len(COUNTS))]


def references(seed: int = 0) -> Representations:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(len(COUNTS), 50, 2, 30))
    vectors[:, :20] += 1.5 * rng.normal(size=(len(COUNTS), 1, 2, 30))
    ids = np.where(np.arange(50) < np.array(COUNTS)[:, None], np.arange(50), -1)
    views = [lambda start, stop, v=view: vectors[start:stop, :, v] for view in (0, 1)]
    return Representations(np.arange(len(COUNTS)), ids, {}, views)


def test_few_references_are_split_by_k_means() -> None:
    given = references()
    split = next(Splitter(given, (2,), 10, 0).split(JOINT, 0, len(COUNTS)))
    valid = given.reference_id >= 0
    grams = view_grams(given.views, valid, 0, len(COUNTS))
    means, _ = k_means(grams.sum(axis=1), valid, 2, 10, SEEDS)
    for row, count in enumerate(COUNTS):
        expected = means[row, :count]
        if count >= FEWEST:
            side = split_in_two(grams[row][:, :count, :count]).side.astype(np.int8)[None]
            expected = in_order_of_size(side, side >= 0)[0]
        np.testing.assert_array_equal(split.label[row, :count], expected)
        assert (split.label[row, count:] == -1).all()
    assert np.asarray(split.seed_stability)[[0, 3]].tolist() == [1, 1]  # no random numbers


def test_more_parts_are_found_by_k_means() -> None:
    given = references(1)
    *_, split = Splitter(given, (2, 3), 10, 0).split(JOINT, 0, len(COUNTS))
    valid = given.reference_id >= 0
    means, _ = k_means(view_grams(given.views, valid, 0, len(COUNTS)).sum(axis=1), valid, 3, 10, SEEDS)
    np.testing.assert_array_equal(split.label, means)
    assert adjusted_rand_index(split.label[3], means[3]) == 1
