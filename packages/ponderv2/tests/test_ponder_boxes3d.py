"""Boxes in space: corners, what lies inside, and similarities of the world."""

import numpy as np
import pytest

from ponderv2.boxes3d import corners, make_boxes, moved_boxes, points_inside, wrap


def boxes(count=20, seed=0):
    random = np.random.default_rng(seed)
    return make_boxes(
        random.normal(0, 10, (count, 3)), random.uniform(0.5, 5, (count, 3)), random.uniform(-9, 9, count),
        random.integers(0, 5, count), velocity=random.normal(0, 3, (count, 2)),
    )  # fmt: skip


def test_corners_of_a_box_that_is_turned_by_a_quarter():
    box = make_boxes([[0, 0, 0]], [[4, 2, 1]], [np.pi / 2], [0])
    assert corners(box)[0, 7] == pytest.approx([-1, 2, 0.5])  # front left top
    assert corners(box)[0, 0] == pytest.approx([1, -2, -0.5])  # rear right bottom


def test_the_middle_and_shrunken_corners_lie_inside_and_grown_ones_outside():
    some = boxes()
    for factor, inside in ((0.999, True), (1.001, False)):
        points = some.center[:, None] + factor * (corners(some) - some.center[:, None])
        for number in range(len(some)):
            assert (points_inside(some, points[number])[number] == inside).all()


def test_moving_boxes_and_moving_points_agree_for_turns_scales_and_mirrors():
    some = boxes()
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    for mirror in (np.diag([1, 1, 1]), np.diag([-1, 1, 1]), np.diag([1, -1, 1])):
        world = np.eye(4)
        world[:3, :3] = 1.3 * turn @ mirror
        world[:3, 3] = 3, -2, 1
        moved = moved_boxes(some, world)
        expected = corners(some) @ world[:3, :3].T + world[:3, 3]
        found = corners(moved)
        # a mirror swaps left and right: the same set of corners, in another order
        gaps = np.linalg.norm(found[:, :, None] - expected[:, None], axis=-1)
        assert gaps.min(2).max() < 1e-9
        assert gaps.min(1).max() < 1e-9
        ahead = np.stack([np.cos(some.yaw), np.sin(some.yaw)], 1) @ (turn @ mirror)[:2, :2].T
        assert np.allclose(np.stack([np.cos(moved.yaw), np.sin(moved.yaw)], 1), ahead)
        assert np.allclose(moved.velocity, 1.3 * some.velocity @ (turn @ mirror)[:2, :2].T)


def test_angles_are_wrapped_and_unknown_velocities_stay_unknown():
    assert wrap(np.array([3.5 * np.pi, -np.pi, 0.5])) == pytest.approx([-0.5 * np.pi, -np.pi, 0.5])
    one = make_boxes([[1, 2, 3]], [[1, 1, 1]], [0], [0])
    assert np.isnan(moved_boxes(one, np.eye(4)).velocity).all()
    assert one.points.tolist() == [-1]
    assert len(one[one.label < 0]) == 0


def test_lengths_that_differ_and_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="numbers of boxes differ"):
        make_boxes([[0, 0, 0]], [[1, 1, 1]], [0, 1], [0])
    with pytest.raises(ValueError, match="not finite"):
        make_boxes([[0, 0, np.nan]], [[1, 1, 1]], [0], [0])
