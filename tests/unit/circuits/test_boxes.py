"""Boxes of heatmaps, as published and inclusive."""

import pytest
import torch

from purelens.circuits.boxes import blurred, boxes, thumbnails
from purelens.networks.imports import torchvision


def heat_of(top: int, left: int, bottom: int, right: int, size: int = 20) -> torch.Tensor:
    heat = torch.zeros(1, size, size)
    heat[0, top:bottom, left:right] = 1
    return heat


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ((5, 5, 9, 9), [5, 5, 9, 9]),
        ((5, 5, 6, 6), [5, 5, 6, 6]),
        ((0, 8, 10, 10), [0, 4, 10, 14]),
        ((0, 0, 10, 2), [0, 0, 10, 10]),
        ((0, 18, 10, 20), [0, 10, 10, 20]),
        ((18, 3, 20, 9), [14, 3, 20, 9]),
        ((0, 0, 20, 3), [0, 0, 20, 20]),
        ((0, 0, 20, 20), [0, 0, 20, 20]),
    ],
)
def test_inclusive_box_is_a_square_in_the_image(region: tuple[int, ...], box: list[int]) -> None:
    assert boxes(heat_of(*region), 0.02)[0].tolist() == box


def test_inclusive_box_holds_every_pixel_above_the_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(200, 17, 23, generator=generator) ** 40
    for one, (top, left, bottom, right) in zip(heat, boxes(heat, 0.5).tolist(), strict=True):
        outside = one.clone()
        outside[top:bottom, left:right] = 0
        assert (outside <= 0.5).all()
        assert 0 <= top < bottom <= 17
        assert 0 <= left < right <= 23
        assert bottom - top == right - left or bottom - top == 17


@pytest.mark.parametrize(
    ("region", "box"),
    [
        ((5, 5, 9, 9), [5, 5, 8, 8]),
        ((5, 5, 6, 6), [0, 0, 19, 19]),
        ((0, 8, 11, 11), [0, 4, 10, 14]),
        ((0, 0, 11, 3), [0, 0, 10, 10]),
        ((0, 17, 11, 20), [0, 13, 10, 20]),
    ],
)
def test_published_box(region: tuple[int, ...], box: list[int]) -> None:
    assert boxes(heat_of(*region), 0.02, "published")[0].tolist() == box


@pytest.mark.parametrize("rule", ["inclusive", "published"])
def test_no_relevance_gives_the_whole_image(rule: str) -> None:
    assert boxes(torch.zeros(1, 9, 9), 0.02, rule)[0].tolist() == [0, 0, 9, 9]


@pytest.mark.parametrize("kernel", [1, 3, 5, 51])
def test_blur_is_torchvisions(kernel: int) -> None:
    torch.manual_seed(0)
    heat = torch.randn(3, 64, 48)
    expected = torchvision().transforms.functional.gaussian_blur(heat.unsqueeze(1), kernel).squeeze(1).abs()
    torch.testing.assert_close(blurred(heat, kernel), expected / expected.amax(dim=(1, 2), keepdim=True))


def test_blur_keeps_an_empty_heatmap_empty() -> None:
    assert blurred(torch.zeros(1, 8, 8), 5).tolist() == torch.zeros(1, 8, 8).tolist()


def test_thumbnails_are_averages() -> None:
    heat = torch.zeros(1, 8, 8)
    heat[0, :4, :4] = 1
    heat[0, 4:, 4:] = 0.5
    assert thumbnails(heat, 2)[0].tolist() == [[255, 0], [0, 128]]
    assert thumbnails(torch.zeros(1, 8, 8), 2).max() == 0
