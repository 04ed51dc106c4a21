"""Depth frames fused into a mesh: planes and balls whose surface is known."""

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2 import tsdf
from ponderv2.cameras import look_at
from ponderv2.scenes import View
from ponderv2.tsdf import Fusion, fuse

K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
MIDDLE, RADIUS = np.array([0.3, -0.2, 0.1]), 0.5


def view_of_ball(eye, color=(200, 100, 50)):
    """Exact planar depth of a ball, by the quadratic equation of each pixel's ray."""
    pose = look_at(eye, MIDDLE, (0.1, 0.2, -1.0))
    v, u = np.mgrid[0:48, 0:64]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u, float)], -1)
    rays = rays @ pose[:3, :3].T
    start = eye - MIDDLE
    a, b, c = (rays**2).sum(-1), (rays @ start), start @ start - RADIUS**2
    root = b**2 - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0).astype(np.float32)
    colors = np.broadcast_to(np.uint8(color), (48, 64, 3)).copy()
    return View("ball", colors, depth, None, K, pose)


EYES = [MIDDLE + 2 * np.array(way) / np.linalg.norm(way) for way in np.ndindex(3, 3, 3)
        for way in [np.array(way) - 1.0] if np.any(way)]  # fmt: skip


def test_frames_around_a_ball_give_its_surface():
    mesh = fuse([view_of_ball(eye) for eye in EYES], voxel=0.03, least=2)
    away = mesh.vertices - MIDDLE
    lengths = np.linalg.norm(away, axis=1)
    assert np.abs(lengths - RADIUS).max() < 0.03
    assert np.abs(lengths - RADIUS).mean() < 0.006
    assert ((away / lengths[:, None]) * mesh.normals).sum(1).min() > 0.5
    corners = mesh.vertices[mesh.faces] - MIDDLE
    assert np.linalg.det(corners).sum() / 6 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)
    assert (mesh.colors == (200, 100, 50)).all()


def test_the_order_of_frames_does_not_matter():
    views = [view_of_ball(eye) for eye in EYES[:4]]
    one, two = (fuse(part, voxel=0.06) for part in (views, views[::-1]))
    assert one.vertices.shape == two.vertices.shape
    assert np.allclose(one.vertices, two.vertices, atol=1e-5)


def plane(depth, color):
    return View("plane", np.full((48, 64, 3), color, np.uint8), np.full((48, 64), depth, np.float32), None, K,
                np.eye(4))  # fmt: skip


def test_two_frames_of_a_plane_give_their_mean_in_depth_and_colour():
    mesh = fuse([plane(1.00, 10), plane(1.04, 30)], voxel=0.02)
    assert np.abs(mesh.vertices[:, 2] - 1.02).max() < 0.002
    assert np.abs(mesh.colors.astype(int) - 20).max() <= 1
    assert mesh.normals[:, 2].max() < -0.99  # towards the camera
    high, wide = np.ptp(mesh.vertices[:, 1]), np.ptp(mesh.vertices[:, 0])
    assert (wide, high) == (pytest.approx(64 / 60 * 1.02, abs=0.06), pytest.approx(48 / 60 * 1.02, abs=0.06))


def test_what_is_seen_in_too_few_frames_or_too_far_away_is_left_out():
    assert len(fuse([plane(1.0, 0), plane(1.0, 0)], least=2, voxel=0.05).faces)
    for options in ({"least": 3}, {"longest": 0.9}):
        with pytest.raises(UserError, match="2 frames show no surface"):
            fuse([plane(1.0, 0), plane(1.0, 0)], voxel=0.05, **options)


def test_a_scene_too_large_for_its_voxels_and_one_far_away_are_refused(monkeypatch):
    monkeypatch.setattr(tsdf, "MOST_VOXELS", 1000)
    with pytest.raises(UserError, match="take larger voxels"):
        fuse([plane(1.0, 0)], voxel=0.02)
    far = plane(1.0, 0)
    far.camera_to_world[:3, 3] = 1e9
    with pytest.raises(UserError, match="are its poses in metres"):
        fuse([far], voxel=0.02)
    with pytest.raises(ValueError, match="voxel is 0"):
        Fusion(0)
