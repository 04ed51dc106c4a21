"""Boxes become labels of patches."""

import numpy as np
import pytest
import torch

from nonet.vision_language.patch_raster import rasterise


def patches_of(box: tuple[float, ...]) -> list[int]:
    return rasterise([box], 256, 16)[0].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("box", "patches"),
    [
        ((0, 0, 1, 1), [0]),
        ((15, 0, 2, 1), [0, 1]),
        ((255, 255, 1, 1), [255]),
        ((0, 0, 256, 256), list(range(256))),
        ((16, 16, 16, 16), [17]),
        ((-20, -5, 21, 6), [0]),
        ((240, 0, 100, 16), [15]),
    ],
)
def test_a_box_has_these_patches(box: tuple[float, ...], patches: list[int]) -> None:
    assert patches_of(box) == patches


@pytest.mark.parametrize(("height", "width", "patch"), [(24, 24, 4), (16, 40, 8)])
def test_every_patch_with_a_pixel_of_the_box_is_labelled_and_no_other(
    height: int, width: int, patch: int
) -> None:
    random = np.random.default_rng(0)
    low = random.integers(0, [width, height], size=(200, 2))
    high = random.integers(low + 1, [width + 1, height + 1])
    found = rasterise(np.concatenate([low, high - low], 1), (height, width), patch)
    for (left, top), (right, bottom), mask in zip(low, high, found, strict=True):
        picture = np.zeros((height, width), bool)
        picture[top:bottom, left:right] = True
        blocks = picture.reshape(height // patch, patch, width // patch, patch).any((1, 3))
        assert mask.tolist() == blocks.ravel().tolist()


def test_an_edge_on_a_border_of_patches_stays_on_it_through_rounding() -> None:
    width = (0.1 + 0.2) * 160
    assert width > 48
    assert patches_of((0, 0, width, 16)) == [0, 1, 2]
    assert patches_of((48 - 1e-9, 0, 16, 16)) == [3]


def test_mirrored_boxes_have_the_mirrored_patches() -> None:
    random = np.random.default_rng(1)
    boxes = random.uniform(0, 24, size=(50, 4))
    mirrored = boxes.copy()
    mirrored[:, 0] = 48 - boxes[:, 0] - boxes[:, 2]
    plain = rasterise(boxes, 48, 8).view(-1, 6, 6)
    assert torch.equal(rasterise(mirrored, 48, 8).view(-1, 6, 6), plain.flip(2))


def test_no_boxes_give_no_rows() -> None:
    assert rasterise(np.zeros((0, 4)), 48, 8).shape == (0, 36)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 5), (5, 5, -3, 2), (48, 0, 5, 5), (float("nan"), 0, 4, 4), (0, 0, float("inf"), 4)]
)
def test_a_box_without_area_in_the_image_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="box 1, xywh"):
        rasterise([(0, 0, 4, 4), box], 48, 8)


def test_an_image_of_no_whole_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="50 x 48 pixels is not whole patches of 8"):
        rasterise([(0, 0, 4, 4)], (50, 48), 8)
