"""Which points a camera has in its image, and which it saw."""

import numpy as np
import pytest

from ponderv2.cameras import look_at, unproject
from ponderv2.scenes import View
from ponderv2.visibility import in_images, nearest_pixels, observed

K = np.array([[50.0, 0, 15.5], [0, 50.0, 11.5], [0, 0, 1]])


def wall(distance=2.0, pose=None):
    """A camera before a wall that fills its image."""
    pose = np.eye(4) if pose is None else pose
    return View(
        "wall", np.zeros((24, 32, 3), np.uint8), np.full((24, 32), distance, np.float32), None, K, pose
    )


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_point_behind_a_pixel_falls_on_that_pixel(scale):
    pose = look_at((1, 2, 3), (-1, 0.5, 2))
    pose[:3, :3] *= scale  # as an augmentation leaves it
    view = wall(pose=pose)
    v, u = (grid.ravel() for grid in np.mgrid[0:24, 0:32])
    depth = np.random.default_rng(0).uniform(0.5, 4, len(u))
    found_u, found_v, ahead, inside = nearest_pixels(unproject(view, u, v, depth), view)
    assert inside.all()
    assert (found_u.tolist(), found_v.tolist()) == (u.tolist(), v.tolist())
    assert np.allclose(ahead, depth)
    assert not nearest_pixels(unproject(view, u, v, -depth), view)[3].any()
    beyond = np.concatenate([unproject(view, u, v - 24, depth), unproject(view, u + 32, v, depth)])
    assert not nearest_pixels(beyond, view)[3].any()


def test_a_frustum_does_not_end_at_what_hides_the_rest():
    points = np.array([[0, 0, 0.5], [0, 0, 9.0], [5.0, 0, 1], [0, 0, -1]])
    assert in_images(points, [wall()]).tolist() == [True, True, False, False]
    assert in_images(points, [wall()], longest=3.0).tolist() == [True, False, False, False]
    right = wall(pose=look_at((0, 0, 1), (5.0, 0, 1), (0, 1, 0)))
    assert in_images(points, [wall(), right]).tolist() == [True, True, True, False]


def test_free_space_and_a_little_behind_a_surface_are_observed():
    points = np.array([[0, 0, 1.0], [0, 0, 1.99], [0, 0, 2.09], [0, 0, 2.11], [3.0, 0, 1], [0, 0, -1]])
    assert observed(points, [wall()], 0.1).tolist() == [True, True, True, False, False, False]


def test_the_distance_behind_a_surface_is_along_the_ray():
    view = wall()
    for u, v in ((0, 0), (15, 11), (31, 23)):
        far = np.linalg.norm(unproject(view, np.array([u]), np.array([v]), np.array([1.0])))
        points = unproject(view, np.full(2, u), np.full(2, v), np.array([2 + 0.099 / far, 2 + 0.101 / far]))
        assert observed(points, [view], 0.1).tolist() == [True, False]


def test_pixels_without_depth_saw_nothing():
    view = wall(distance=0.0)
    assert not observed(np.array([[0, 0, 1.0]]), [view], 0.1).any()
    assert observed(np.array([[0, 0, 1.0]]), [view, wall()], 0.1).all()
    assert not observed(np.array([[0, 0, 1.0]]), [], 0.1).any()
