"""The search for the lightest tails, beside all directions of the plane and of space."""

import numpy as np
import pytest

from purelens.numerics.light_tails import (
    EQUAL,
    UNEQUAL,
    light_tails_p_value,
    lightest_tails,
    null_values,
    white_components,
)


def clouds(n: int, q: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((10, n, q))
    frames, _ = np.linalg.qr(points - points.mean(axis=1, keepdims=True))
    return frames * np.sqrt(n)


@pytest.mark.parametrize("measure", [EQUAL, UNEQUAL])
@pytest.mark.parametrize("q", [2, 3])
def test_no_direction_is_lighter(q: int, measure: str) -> None:
    components = clouds(60, q, seed=q)
    if q == 2:
        angle = np.linspace(0, np.pi, 20_001)
        directions = np.stack([np.cos(angle), np.sin(angle)])
    else:
        drawn = np.random.default_rng(0).standard_normal((3, 100_000))
        directions = drawn / np.linalg.norm(drawn, axis=0)
    found, direction = lightest_tails(components, measure)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1)
    for cloud, value in zip(components, found, strict=True):
        s = cloud @ directions
        all_values = (s**4).mean(axis=0) - ((s**3).mean(axis=0) ** 2 if measure == UNEQUAL else 0)
        assert value <= all_values.min() + 2e-3


def test_components_are_white() -> None:
    points = np.random.default_rng(0).standard_normal((3, 40, 9)) * np.arange(1, 10)
    points -= points.mean(axis=1, keepdims=True)
    white = white_components(points @ points.swapaxes(1, 2), 5)
    np.testing.assert_allclose(white.swapaxes(1, 2) @ white / 40, np.broadcast_to(np.eye(5), (3, 5, 5)), atol=1e-9)


def test_two_groups_have_light_tails_and_one_has_not() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((60, 20))
    one = points - points.mean(axis=0)
    points[:30, 0] += 8
    two = points - points.mean(axis=0)
    assert light_tails_p_value(two @ two.T, EQUAL) < 0.01
    assert light_tails_p_value(one @ one.T, EQUAL) > 0.01
    assert (np.diff(null_values(60, EQUAL)) >= 0).all()
