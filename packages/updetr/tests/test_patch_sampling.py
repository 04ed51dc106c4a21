"""Random patches: their distribution against numbers counted elsewhere, edges, and what they depend on."""

import numpy as np
import pytest

from updetr.patch_sampling import (
    CONSTANT_BOX_IOU,
    has_patches,
    patches_of,
    relative_boxes,
    sample_patches,
)

WIDTH, HEIGHT = 500, 400


@pytest.fixture(scope="module")
def many():
    return sample_patches(WIDTH, HEIGHT, 200_000, random=np.random.default_rng(0))


def overlap(one, two):
    """IoU of boxes x, y, w, h, pair by pair."""
    low = np.maximum(one[:, :2], two[:, :2])
    high = np.minimum(one[:, :2] + one[:, 2:], two[:, :2] + two[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    return both / (one[:, 2:].prod(1) + two[:, 2:].prod(1) - both)


def test_sizes_are_distributed_as_in_the_released_code(many):
    width, height = many[:, 2], many[:, 3]
    assert (width / WIDTH).mean() == pytest.approx(0.500, abs=0.002)
    assert (height / HEIGHT).mean() == pytest.approx(0.501, abs=0.002)
    assert (width * height / (WIDTH * HEIGHT)).mean() == pytest.approx(0.250, abs=0.002)
    assert (width * height < 32**2).mean() == pytest.approx(0.010, abs=0.001)
    assert (np.maximum(width / height, height / width) > 4).mean() == pytest.approx(0.23, abs=0.005)


def test_two_patches_overlap_as_in_the_released_code(many):
    iou = overlap(many[::2].astype(float), many[1::2].astype(float))
    assert iou.mean() == pytest.approx(0.157, abs=0.002)
    assert (iou > 0.5).mean() == pytest.approx(0.061, abs=0.002)


def test_one_box_in_the_middle_scores_the_floor(many):
    box = np.array([[0.1 * WIDTH, 0.1 * HEIGHT, 0.8 * WIDTH, 0.8 * HEIGHT]])
    assert overlap(many.astype(float), box).mean() == pytest.approx(CONSTANT_BOX_IOU, abs=0.005)


def test_every_side_and_place_is_drawn_and_the_last_column_is_never_touched():
    drawn = sample_patches(20, 18, 20_000, random=np.random.default_rng(1))
    assert {*drawn[:, 2]} == {8, 9, 10, 11, 12}
    assert {*drawn[:, 3]} == {8, 9, 10}
    widest = drawn[drawn[:, 2] == 12]
    assert {*widest[:, 0]} == set(range(8))
    assert (drawn[:, 0] + drawn[:, 2]).max() == 19
    assert (drawn[:, 1] + drawn[:, 3]).max() == 17


@pytest.mark.parametrize(
    ("size", "least", "possible"),
    [
        ((16, 400), 8, False),
        ((17, 17), 8, True),
        ((100, 100), 92, True),
        ((100, 100), 93, False),
        ((1000, 17), 0.5, True),
        ((1000, 17), 0.6, False),
    ],
)
def test_small_images_have_no_patches(size, least, possible):
    assert has_patches(*size, least) is possible
    if possible:
        assert len(sample_patches(*size, 3, random=np.random.default_rng(0), least=least)) == 3
    else:
        with pytest.raises(ValueError, match="no patches"):
            sample_patches(*size, 3, random=np.random.default_rng(0), least=least)


def test_the_least_side_is_in_pixels_or_a_share_of_the_side():
    random = np.random.default_rng(0)
    assert sample_patches(100, 50, 5000, random=random, least=30)[:, 2:].min(0).tolist() == [30, 30]
    assert sample_patches(100, 50, 5000, random=random, least=0.3)[:, 2:].min(0).tolist() == [30, 15]


def test_patches_depend_on_seed_epoch_and_index_alone():
    first = patches_of(0, 0, 0, 64, 64, 10)
    assert (patches_of(0, 0, 0, 64, 64, 10) == first).all()
    for other in [(1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        assert (patches_of(*other, 64, 64, 10) != first).any()


def test_boxes_are_centres_and_sizes_in_shares_of_the_image():
    found = relative_boxes(np.array([[10, 40, 20, 80]]), 100, 200)
    np.testing.assert_allclose(found, [[0.2, 0.4, 0.2, 0.4]], rtol=1e-6)
    assert found.dtype == np.float32
