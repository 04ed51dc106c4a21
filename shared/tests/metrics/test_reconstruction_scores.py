import itertools
import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.reconstruction import PARTS, mesh_scores, point_scores, sample_surface, seen

CUBE = np.array(list(itertools.product([0.0, 1], repeat=3)))
FACES = [
    (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
    (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
]  # fmt: skip


def test_scores_of_points_are_those_of_all_pairs():
    random = np.random.default_rng(0)
    found, truth = random.normal(size=(60, 3)), random.normal(size=(45, 3))
    apart = np.linalg.norm(found[:, None] - truth[None], axis=-1)
    scores = point_scores(found, truth, 0.4)
    assert scores.accuracy == pytest.approx(apart.min(1).mean())
    assert scores.completeness == pytest.approx(apart.min(0).mean())
    assert scores.chamfer == pytest.approx((scores.accuracy + scores.completeness) / 2)
    precision, recall = (apart.min(1) < 0.4).mean(), (apart.min(0) < 0.4).mean()
    assert (scores.precision, scores.recall) == (precision, recall)
    assert scores.f_score == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("count", [2, 3 * PARTS + 5])
def test_it_is_told_how_far_a_comparison_is(count):
    random, told = np.random.default_rng(1), []
    found, truth = random.normal(size=(count, 3)), random.normal(size=(count + 1, 3))
    scores = point_scores(found, truth, 0.5, done=lambda: told.append(1))
    assert len(told) == 2 * PARTS
    pairs = np.linalg.norm(found[:, None] - truth[None], axis=2)
    assert math.isclose(scores.accuracy, pairs.min(1).mean())
    assert math.isclose(scores.completeness, pairs.min(0).mean())
    assert scores.recall == (pairs.min(0) < 0.5).mean()


def test_two_points_by_hand():
    scores = point_scores([[0, 0, 0.04], [0, 0, 1]], [[0, 0, 0]])
    assert scores == pytest.approx((0.52, 0.04, 0.28, 0.5, 1.0, 2 / 3))


def test_nothing_found_scores_0_and_no_truth_is_refused():
    assert point_scores([], [[0, 0, 0]]) == (math.inf, math.inf, math.inf, 0, 0, 0)
    assert point_scores([[0, 0, 9]], [[0, 0, 0]]).f_score == 0
    with pytest.raises(UserError, match="no true point"):
        point_scores([[0, 0, 0]], np.zeros((0, 3)))


def test_samples_lie_on_the_surface_evenly():
    points = sample_surface(CUBE, FACES, 30_000)
    on = np.isclose(points, 0, atol=1e-12) | np.isclose(points, 1, atol=1e-12)
    assert on.any(1).all()
    assert points.min() >= -1e-12
    assert points.max() <= 1 + 1e-12
    for axis, side in itertools.product(range(3), (0, 1)):  # a sixth on each side, and evenly there
        mine = points[np.isclose(points[:, axis], side, atol=1e-9)]
        assert len(mine) == pytest.approx(5000, abs=5 * math.sqrt(5000))
        inner = np.delete(mine, axis, 1)
        counts = np.histogram2d(*inner.T, bins=3, range=[(0, 1), (0, 1)])[0]
        assert np.abs(counts - len(mine) / 9).max() < 5 * math.sqrt(len(mine) / 9)


def test_triangles_have_points_by_their_area_and_empty_ones_have_none():
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 3, 5], [9, 9, 9]]
    points = sample_surface(vertices, [(0, 1, 2), (6, 6, 6), (3, 4, 5)], 20_000)
    assert (points[:, 2] == 5).mean() == pytest.approx(0.9, abs=0.01)
    assert not (points[:, 2] == 9).any()
    assert (points[:, :2].sum(1) <= 3 + 1e-9).all()


def test_samples_are_those_of_the_seed():
    one, same, other = (sample_surface(CUBE, FACES, 50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_moved_wall_is_as_far_as_it_was_moved():
    wall = np.array([[0.0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]])
    faces = [(0, 1, 2), (0, 2, 3)]
    near = mesh_scores((wall + np.array([0, 0, 0.03]), faces), (wall, faces), count=40_000)
    assert near.accuracy == pytest.approx(0.0316, abs=0.001)  # points are a centimetre apart besides
    assert (near.precision, near.recall, near.f_score) == (1, 1, 1)
    far = mesh_scores((wall + np.array([0, 0, 0.06]), faces), (wall, faces), count=40_000)
    assert far.f_score == 0
    half = mesh_scores((wall * [0.5, 1, 1], faces), (wall, faces), count=40_000)
    assert half.precision == pytest.approx(1, abs=0.001)
    assert half.recall == pytest.approx(2.05 / 4, abs=0.01)


def test_points_are_left_out_of_both_meshes():
    wall = np.array([[0.0, 0, 0], [4, 0, 0], [4, 3, 0], [0, 3, 0]])
    faces = [(0, 1, 2), (0, 2, 3)]
    scores = mesh_scores(
        (wall * [0.5, 1, 1], faces), (wall, faces), count=40_000, keep=lambda points: points[:, 0] < 1.9
    )
    assert scores.f_score == 1


def test_a_camera_sees_its_frustum():
    lens = [[100.0, 0, 49.5], [0, 100, 39.5], [0, 0, 1]]
    pose = np.eye(4)
    pose[:3, 3] = [0, 0, -2]  # looks along z from 2 m behind
    corner = [0.5 * 2 - 1e-6, 0.4 * 2 - 1e-6, 0]
    beyond = [0.5 * 2 + 1e-6, 0, 0]
    points = [[0, 0, 0], corner, np.negative(corner), beyond, [0, 0, -3], [0, 0, 8.1]]
    found = seen(points, lens, pose[None], 100, 80, far=10)
    assert found.tolist() == [True, True, True, False, False, False]
    turned = pose.copy()
    turned[:3, :3] = [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]
    assert seen(points, lens, np.stack([pose, turned]), 100, 80, far=10).tolist()[4:] == [True, False]
    assert not seen(points, lens, np.zeros((0, 4, 4)), 100, 80).any()


def test_what_is_no_mesh_is_refused():
    for vertices, faces, error in (
        (CUBE, [(0, 1, 8)], r"triangles name vertices 0..8 of 8"),
        (CUBE, np.zeros((0, 3), np.int64), "no area"),
        (CUBE, [(0, 0, 1)], "no area"),
        (CUBE[:, :2], FACES, r"vertices \(V, 3\) and triangles \(T, 3\)"),
        (CUBE * math.nan, FACES, "not finite"),
    ):
        with pytest.raises(UserError, match=error):
            sample_surface(vertices, faces)
    with pytest.raises(UserError, match=r"found points must be \(n, 3\)"):
        point_scores([[0, 0]], [[0, 0, 0]])
    with pytest.raises(UserError, match=r"poses \(C, 4, 4\)"):
        seen([[0, 0, 0]], np.eye(3), np.eye(4), 10, 10)
