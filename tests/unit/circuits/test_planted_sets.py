"""Planted neurons: disjoint references, one class each where that is said, no repeats."""

import numpy as np

from purelens.circuits.planted_sets import CONTROL, EQUAL, MAGNITUDES, SHARES, TRIPLE, UNEQUAL, plant, rank

N_IMAGES, N_CLASSES, K = 2000, 5, 40


def rankings(labels: bool = True) -> tuple[dict[int, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, N_CLASSES, N_IMAGES) if labels else np.full(N_IMAGES, -1)
    values = {neuron: rng.random(N_IMAGES) + 2 * (classes == neuron % N_CLASSES) for neuron in range(3, 15)}
    return values, classes


def test_sets_are_what_they_are_said_to_be() -> None:
    values, classes = rankings()
    ranked = rank(values, classes, K)
    sets = plant(ranked, 10, 6, 5, seed=0)
    assert {one.kind for one in sets} == set(SHARES)
    for one in sets:
        assert len(np.unique(one.image_id)) == len(one.image_id)
        sizes = np.bincount(one.truth)
        if one.kind != CONTROL:
            assert sizes.tolist() == [int(share * K + 1e-9) for share in SHARES[one.kind]]
        for place, parent in enumerate(one.parents):
            images = one.image_id[one.truth == place]
            if one.one_concept:
                assert (classes[images] == ranked.main_class[parent]).all()
            else:
                best = np.argsort(-values[parent], kind="stable")[: sizes[place]]
                np.testing.assert_array_equal(images, best)
        if one.one_concept and one.kind != CONTROL:
            assert len({ranked.main_class[parent] for parent in one.parents}) == len(one.parents)
    for kind in (EQUAL, UNEQUAL, MAGNITUDES, TRIPLE):
        chosen = [one.parents for one in sets if one.kind == kind and not one.one_concept]
        assert len(set(chosen)) == len(chosen) > 0
    assert next(one.weights for one in sets if one.kind == MAGNITUDES) == (1.0, 0.5)
    assert sum(one.kind == CONTROL for one in sets) == 5


def test_the_overlap_is_the_common_share_of_the_classes() -> None:
    values, classes = rankings()
    ranked = rank(values, classes, K)
    for one in plant(ranked, 10, 0, 0, seed=1):
        if one.one_concept:
            continue
        histograms = [
            np.bincount(classes[np.argsort(-values[parent], kind="stable")[: K // 2]], minlength=N_CLASSES) / (K // 2)
            for parent in one.parents
        ]
        assert abs(one.overlap - np.minimum(*histograms).sum()) < 1e-12


def test_without_labels_there_are_no_concepts_and_no_controls() -> None:
    values, classes = rankings(labels=False)
    sets = plant(rank(values, classes, K), 5, 3, 5, seed=0)
    assert {one.kind for one in sets} == {EQUAL, UNEQUAL, MAGNITUDES, TRIPLE}
    assert not any(one.one_concept for one in sets)
    assert all(np.isnan(one.overlap) for one in sets)


def test_neurons_with_common_references_are_not_summed() -> None:
    same = np.random.default_rng(0).random(N_IMAGES)
    assert plant(rank({0: same, 1: same, 2: same}, np.full(N_IMAGES, -1), K), 5, 5, 5, seed=0) == []
    few = rank({0: np.r_[np.ones(K - 1), np.zeros(100)]}, np.full(K + 99, -1), K)
    assert few.all_classes == {}


def test_images_without_a_label_are_of_no_class() -> None:
    values, classes = rankings()
    partly = np.where(np.random.default_rng(1).random(N_IMAGES) < 0.5, -1, classes)
    partly[np.argsort(-values[3], kind="stable")[: 6 * K]] = -1
    ranked = rank(values, partly, K)
    assert 3 in ranked.all_classes
    assert 3 not in ranked.main_class
    assert 3 not in ranked.one_class
    assert np.isnan(ranked.overlap((3, 4)))
    assert np.isnan(ranked.overlap((4, 3, 5)))
    for neuron in (4, 5, 6):
        first = partly[np.argsort(-values[neuron], kind="stable")[: K // 2]]
        shares = [(first[first >= 0] == number).mean() for number in range(N_CLASSES)]
        np.testing.assert_allclose(ranked.histogram[neuron], shares)
    for one in plant(ranked, 10, 6, 20, seed=0):
        if one.one_concept:
            assert (partly[one.image_id] >= 0).all()
            assert 3 not in one.parents
