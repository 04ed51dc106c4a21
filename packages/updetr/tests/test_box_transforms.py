"""Flips, sizes and crops: boxes stay where the things in the picture are."""

import numpy as np
import pytest
from PIL import Image

from nonet.data.batching import generator
from updetr.box_transforms import Augmentation, Sample, cropped, draw_crop, mirrored, resized, shares


def painted(width, height, *boxes):
    """A black picture with white rectangles, labelled by their number."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 255
    return Sample(Image.fromarray(pixels), np.array(boxes, np.float64).reshape(-1, 4), np.arange(len(boxes)))


def extent(image):
    """xyxy of what is at least half white."""
    rows, columns = np.nonzero(np.asarray(image)[..., 0] >= 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_mirroring_by_hand():
    sample = painted(10, 6, (1, 2, 4, 5))
    assert mirrored(sample).boxes.tolist() == [[6, 2, 9, 5]]
    assert mirrored(sample, vertical=True).boxes.tolist() == [[1, 1, 4, 4]]
    again = mirrored(mirrored(sample))
    assert (np.asarray(again.image) == np.asarray(sample.image)).all()
    assert (again.boxes == sample.boxes).all()


def test_the_sizes_of_detr():
    sample = painted(500, 375, (0, 0, 500, 375))
    assert resized(sample, 320, None).image.size == (426, 320)  # 426.67 is cut
    assert resized(painted(640, 480), 800, 1333).image.size == (1066, 800)
    assert resized(painted(2000, 500), 800, 1333).image.size == (1332, 333)  # the longer side decides
    assert resized(sample, 320, None).boxes.tolist() == [[0, 0, 426, 320]]


def test_a_crop_clips_boxes_and_drops_what_is_outside():
    sample = painted(20, 20, (0, 0, 10, 10), (12, 12, 18, 18), (0, 0, 5, 20))
    part = cropped(sample, (5, 5, 15, 15))
    assert part.image.size == (10, 10)
    assert part.boxes.tolist() == [[0, 0, 5, 5], [7, 7, 10, 10]]
    assert part.labels.tolist() == [0, 1]  # the third touches the window's edge, without area


def test_a_crop_s_sides_lie_between_the_limits_and_inside_the_image():
    random = generator(0, "crops")
    drawn = np.array([draw_crop((50, 30), (20, 40), random) for _ in range(300)])
    sides = drawn[:, 2:] - drawn[:, :2]
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, 2:] <= [50, 30]).all()
    assert sides.min(0).tolist() == [20, 20]
    assert sides.max(0).tolist() == [40, 30]
    assert draw_crop((10, 30), (20, 40), random)[:3:2] == (0, 10)  # smaller than the least side: all of it


@pytest.mark.parametrize("crop", [0.0, 1.0])
def test_boxes_follow_the_pixels_through_every_draw(crop):
    augment = Augmentation(
        scales=(60, 90), longest=200, crop=crop, crop_scales=(70, 80), crop_sides=(50, 70), flip=0.5,
        flip_vertical=0.5,
    )  # fmt: skip
    sample, seen = painted(120, 80, (40, 20, 90, 60)), set()
    for epoch in range(40):
        found = augment(sample, generator(0, "augment", epoch, 0))
        if len(found.boxes):
            np.testing.assert_allclose(found.boxes[0], extent(found.image), atol=1.01)
        seen.add(min(found.image.size) if not crop else found.image.size)
    assert len(seen) > 1


def test_half_of_the_images_are_mirrored():
    augment = Augmentation(scales=(32,), longest=64, crop=0, flip=0.5)
    sample = painted(40, 32, (0, 0, 10, 32))
    turned = sum(augment(sample, generator(1, "flip", i)).boxes[0, 0] > 0 for i in range(200))
    assert 80 < turned < 120


def test_shares_are_centre_and_size_of_the_image():
    assert shares(painted(40, 20, (10, 5, 20, 15))).tolist() == [[0.375, 0.5, 0.25, 0.5]]
    assert shares(painted(40, 20)).shape == (0, 4)
