import itertools
import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.boxes_3d import check_boxes_3d, common_areas, corners_above, iou_3d


def clipped_area(subject, clip):
    """The common area of two convex polygons: one is cut by the sides of the other (Sutherland, Hodgman)."""
    polygon = [tuple(point) for point in subject]
    for (ax, ay), (bx, by) in zip(clip, [*clip[1:], clip[0]], strict=True):
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in polygon]
        cut = []
        for i, (point, side) in enumerate(zip(polygon, sides, strict=True)):
            before, side_before = polygon[i - 1], sides[i - 1]
            if side * side_before < 0:
                share = side_before / (side_before - side)
                cut.append(tuple(p + share * (q - p) for p, q in zip(before, point, strict=True)))
            if side >= 0:
                cut.append(point)
        polygon = cut
        if not polygon:
            return 0.0
    around = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in around)) / 2


def drawn(random, count):
    return np.concatenate(
        [
            random.uniform(-2, 2, (count, 3)),
            random.uniform(0.2, 3, (count, 3)),
            random.uniform(-7, 7, (count, 1)),
        ],
        1,
    )


@pytest.mark.parametrize("seed", range(5))
def test_overlap_of_turned_boxes_is_that_of_cut_polygons(seed):
    random = np.random.default_rng(seed)
    left, right = drawn(random, 12), drawn(random, 9)
    wanted = np.zeros((12, 9))
    for i, j in itertools.product(range(12), range(9)):
        a, b = left[i], right[j]
        area = clipped_area(
            corners_above(left[i : i + 1])[0].tolist(), corners_above(right[j : j + 1])[0].tolist()
        )
        tall = min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2)
        common = area * max(0.0, tall)
        wanted[i, j] = common / (a[3:6].prod() + b[3:6].prod() - common)
    assert (wanted > 0).sum() > 10
    np.testing.assert_allclose(iou_3d(left, right), wanted, rtol=1e-9, atol=1e-12)


def test_a_square_turned_by_an_eighth_leaves_an_octagon():
    box, turned = [[0, 0, 0, 1, 1, 1, 0]], [[0, 0, 0, 1, 1, 1, math.pi / 4]]
    octagon = 2 * (math.sqrt(2) - 1)
    assert common_areas(check_boxes_3d(box), check_boxes_3d(turned))[0, 0] == pytest.approx(
        octagon, rel=1e-12
    )
    assert iou_3d(box, turned)[0, 0] == pytest.approx(octagon / (2 - octagon))


def test_axis_aligned_boxes_by_hand():
    left = [[0, 0, 0, 2, 2, 2]]
    right = [
        [1, 0, 0, 2, 2, 2],
        [1, 1, 1, 2, 2, 2],
        [2, 0, 0, 2, 2, 2],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 9, 2, 2, 2],
    ]
    assert iou_3d(left, right)[0] == pytest.approx([4 / 12, 1 / 15, 0, 1 / 8, 0])


@pytest.mark.parametrize("yaw", [0, 0.3, math.pi / 2, math.pi, -2.0])
def test_a_box_overlaps_itself_fully_wherever_it_is(yaw):
    boxes = [[4000.0, -3000, 1, 4.5, 1.9, 1.6, yaw]]
    assert iou_3d(boxes, boxes)[0, 0] == pytest.approx(1, abs=1e-9)
    assert iou_3d(boxes, [[*boxes[0][:6], yaw + math.pi]])[0, 0] == pytest.approx(1, abs=1e-9)


def test_a_quarter_turn_swaps_the_sizes():
    assert iou_3d([[0, 0, 0, 4, 2, 1, math.pi / 2]], [[0, 0, 0, 2, 4, 1, 0]])[0, 0] == pytest.approx(1)


def test_boxes_that_share_a_side_share_no_volume():
    assert iou_3d([[0, 0, 0, 1, 1, 1, 0]], [[1, 0, 0, 1, 1, 1, 0]])[0, 0] == pytest.approx(0, abs=1e-9)


def test_turning_both_boxes_and_moving_them_changes_nothing():
    random = np.random.default_rng(7)
    left, right = drawn(random, 6), drawn(random, 6)
    angle, (cos, sin) = 0.7, (math.cos(0.7), math.sin(0.7))
    moved = []
    for boxes in (left, right):
        other = boxes.copy()
        other[:, :2] = boxes[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + [10, -4]
        other[:, 6] += angle
        moved.append(other)
    np.testing.assert_allclose(iou_3d(*moved), iou_3d(left, right), atol=1e-10)


def test_corners_go_counterclockwise_from_front_left():
    corners = corners_above(np.array([[1.0, 2, 0, 4, 2, 1, math.pi / 2]]))[0]
    np.testing.assert_allclose(corners, [[0, 4], [0, 0], [2, 0], [2, 4]], atol=1e-12)


def test_none_overlap_none():
    assert iou_3d([], [[0, 0, 0, 1, 1, 1]]).shape == (0, 1)
    assert iou_3d(np.zeros((0, 7)), ()).shape == (0, 0)


def test_boxes_that_are_none_are_refused():
    for boxes, error in (
        ([[0, 0, 0, 1, 1]], r"rows of 6 or 7 numbers, but their shape is \(1, 5\)"),
        ([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 1]], r"box 1 \(from 0\).*size that is not above 0"),
        ([[0, math.nan, 0, 1, 1, 1]], "not finite"),
    ):
        with pytest.raises(UserError, match=error):
            iou_3d(boxes, [[0, 0, 0, 1, 1, 1]])
