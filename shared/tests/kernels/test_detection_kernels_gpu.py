"""Kernels for detection in their Triton form on a GPU, against the reference on the CPU."""

import numpy as np
import pytest
import torch

from nonet.kernels.crop_resize import crop_resize_packed, pack_images
from nonet.kernels.patch_augment import Draws, draw_augmentations, patch_augment
from nonet.kernels.set_cost import set_cost
from nonet.testing import needs, normal, whole

pytestmark = [pytest.mark.gpu, needs("cuda"), needs("triton")]


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("size", [(6, 32, 100, 1, 10), (6, 16, 300, 80, 30), (1, 3, 7, 37, 1)])
def test_costs_are_those_of_the_cpu(sigmoid, size):
    layers, images, queries, classes, most = size
    labels = whole(classes, images, most)
    labels[0, most // 2 :] = -1
    parts = [
        normal(layers * images, queries, classes + 1, seed=1),
        normal(layers * images, queries, 4, seed=2).sigmoid(),
        labels,
        normal(images, most, 4, seed=3).sigmoid(),
    ]
    found = set_cost(*(part.cuda() for part in parts), sigmoid=sigmoid)
    torch.testing.assert_close(found.cpu(), set_cost(*parts, sigmoid=sigmoid), rtol=1e-4, atol=1e-5)


def test_patches_are_within_one_level_of_those_of_the_cpu():
    random = np.random.default_rng(0)
    images, boxes = [], []
    for _ in range(6):
        height, width = random.integers(60, 700, 2)
        images.append(torch.from_numpy(random.integers(0, 256, (3, height, width), dtype=np.uint8)))
        sides = random.integers(1, [width, height], (10, 2))
        corner = random.integers(0, [width, height] - sides + 1)
        boxes.append(torch.from_numpy(np.concatenate([corner, sides], 1)))
    packed, places = pack_images(images), torch.stack(boxes)
    wanted = crop_resize_packed(packed, places, 128)
    found = crop_resize_packed(type(packed)(*(part.cuda() for part in packed)), places.cuda(), 128)
    apart = (found.cpu().int() - wanted.int()).abs()
    assert apart.max() <= 1
    assert apart.float().mean() < 0.3


@pytest.mark.parametrize("side", [128, 48])
def test_augmented_pictures_are_those_of_the_cpu(side):
    given = whole(256, 64, 3, side, side).to(torch.uint8)
    drawn = draw_augmentations(np.random.default_rng(1), 64)
    found = patch_augment(given.cuda(), Draws(*(part.cuda() for part in drawn)))
    torch.testing.assert_close(found.cpu(), patch_augment(given, drawn), rtol=0, atol=1e-4)
