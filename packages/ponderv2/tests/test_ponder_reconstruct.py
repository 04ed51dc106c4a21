"""The mesh of a ball that is known exactly, its colours, and how meshes are scored."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2 import reconstruct as module
from ponderv2.cameras import look_at, pinhole
from ponderv2.mesh_scoring import read_reference, score_mesh
from ponderv2.meshes import Mesh, write_mesh
from ponderv2.reconstruct import cell_sides, reconstruct, signed_distances

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from ball_model import BOX, MIDDLE, RADIUS, ball_model, ball_view

K = pinhole(40, 30, 75.0)
WAYS = [(1, 0, 0.2), (-1, 0.1, 0.2), (0.1, 1, 0), (0, -1, 0.3), (0.2, 0.1, 1), (0.1, 0.3, -1)]


def mesh_of_ball(views=(), points=None, **more):
    model, encoded = ball_model()
    if points is None:
        points = MIDDLE + RADIUS * sphere(400)
    return reconstruct(model, encoded, BOX, views, points, **({"spacing": 0.1, "reach": 0.2} | more))


def sphere(count):
    points = np.random.default_rng(0).standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def around(distance=1.8):
    ways = [np.array(way) / np.linalg.norm(way) for way in WAYS]
    return [ball_view(look_at(MIDDLE + distance * way, MIDDLE, (0.3, 0.2, 1)), K, (30, 40)) for way in ways]


def test_distances_are_in_metres_and_positive_outside():
    model, encoded = ball_model()
    points = np.random.default_rng(1).uniform(*BOX, (1000, 3))
    found = signed_distances(model, encoded, points, chunk=300)
    assert np.allclose(found, np.linalg.norm(points - MIDDLE, axis=1) - RADIUS, atol=1e-5)
    assert signed_distances(model, encoded, points[:0]).shape == (0,)


def test_a_mesh_is_in_metres_faces_outward_and_is_coloured_by_the_field():
    mesh = mesh_of_ball(points=MIDDLE + sphere(3000) * RADIUS, reach=0.4)
    away = mesh.vertices - MIDDLE
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    assert np.abs(lengths - RADIUS).max() < 0.01
    assert ((away / lengths) * mesh.normals).sum(1).min() > 0.9
    assert (mesh.face_normals() * away[mesh.faces[:, 0]]).sum(1).min() > 0
    assert np.abs(mesh.colors / 255 - (away / lengths + 1) / 2).max() < 0.01
    volume = np.linalg.det(away[mesh.faces]).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)


def test_what_no_camera_saw_is_no_part_of_a_mesh():
    whole, front = mesh_of_ball(around()), mesh_of_ball(around()[:1])
    assert np.ptp(whole.vertices, axis=0) == pytest.approx([2 * RADIUS] * 3, abs=0.05)
    assert 0.1 < len(front.faces) / len(whole.faces) < 0.6
    eye = around()[0].camera_to_world[:3, 3] - MIDDLE
    assert ((front.vertices - MIDDLE) @ eye).min() > -0.5 * RADIUS


def test_without_cameras_what_is_far_from_the_cloud_is_left_out():
    points = MIDDLE + RADIUS * sphere(2000)
    upper = mesh_of_ball(points=points[points[:, 2] > MIDDLE[2]], color=False)
    assert upper.vertices[:, 2].min() > MIDDLE[2] - 0.25
    assert upper.colors is None


def test_a_scene_without_a_surface_gives_no_triangles():
    model, encoded = ball_model()
    box = np.stack([MIDDLE + 0.7, MIDDLE + 0.95])
    mesh = reconstruct(model, encoded, box, [], box, spacing=0.05, reach=0.05)
    assert mesh.faces.shape == (0, 3)
    assert mesh.colors is None


def test_a_surface_on_the_face_of_the_cloud_s_box_is_found():
    model, encoded = ball_model()
    half = np.stack([MIDDLE - 0.6, MIDDLE + np.array([0.6, 0.6, -0.58])])  # only the ball's lowest part
    points = MIDDLE + RADIUS * sphere(3000)
    mesh = reconstruct(model, encoded, half, [], points, spacing=0.05, reach=0.1, color=False)
    assert mesh.vertices[:, 2].min() == pytest.approx(MIDDLE[2] - RADIUS, abs=0.01)
    assert mesh.vertices[:, 2].max() == pytest.approx(MIDDLE[2] - 0.48, abs=0.051)


def test_a_grid_that_is_too_fine_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 1000)
    with pytest.raises(UserError, match=r"grid points every 0\.1 m in a box of 2\.2 x 2\.2 x 2\.1 m"):
        mesh_of_ball()


@pytest.mark.parametrize("seen", [True, False])
def test_a_grid_is_made_by_slabs_and_its_mesh_is_the_same(seen, monkeypatch):
    views, counts = around() if seen else (), []
    whole = mesh_of_ball(views)
    asked = signed_distances

    def counted(model, encoded, points, **more):
        counts.append(len(points))
        return asked(model, encoded, points, **more)

    monkeypatch.setattr(module, "signed_distances", counted)
    monkeypatch.setattr(module, "SLAB", 3 * 23 * 22)  # the grid has 23 x 23 x 22 points or one less a side
    slabs = mesh_of_ball(views)
    assert len(counts) >= 7
    assert max(counts) <= 3 * 23 * 22
    assert np.array_equal(slabs.faces, whole.faces)
    assert np.allclose(slabs.vertices, whole.vertices, atol=1e-6)


def test_cells_have_the_sides_of_the_cube_in_metres():
    _, encoded = ball_model()
    assert cell_sides(encoded) == pytest.approx([2 * 1.1 / 3] * 3)


def test_a_mesh_moved_by_a_similarity_and_back_is_the_same():
    mesh = mesh_of_ball()
    for sign in (1, -1):
        world = np.eye(4)
        turn = look_at((0, 0, 0), (1, 2, 3))[:3, :3]
        world[:3, :3], world[:3, 3] = sign * 1.3 * turn, (3, 2, 1)
        moved = mesh.moved(world)
        middle = world[:3, :3] @ MIDDLE + world[:3, 3]
        away = moved.vertices - middle
        assert np.abs(np.linalg.norm(away, axis=1) - 1.3 * RADIUS).max() < 0.02
        assert (moved.face_normals() * away[moved.faces[:, 0]]).sum(1).min() > -1e-6  # slivers have no side
        assert (moved.normals * away).sum(1).min() > 0
        again = moved.moved(np.linalg.inv(world))
        assert np.allclose(again.vertices, mesh.vertices, atol=1e-5)
        assert np.array_equal(again.faces, mesh.faces)


def square(z, size=1.0):
    """Two triangles that face up."""
    corners = np.array([[0, 0, z], [size, 0, z], [size, size, z], [0, size, z]], np.float32)
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))


def test_scores_of_squares_above_each_other():
    found = score_mesh(square(0.0), square(0.03), [], samples=4000)
    assert found["accuracy"] == pytest.approx(0.03, abs=0.01)
    assert (found["precision"], found["recall"], found["f_score"]) == (1, 1, 1)
    assert score_mesh(square(0.0), square(0.3), [], samples=4000)["f_score"] == 0


def test_half_of_a_reference_that_is_missing_halves_recall_unless_no_camera_sees_it():
    half = Mesh(square(0.0).vertices * np.array([0.5, 1, 1], np.float32), square(0.0).faces)
    found = score_mesh(half, square(0.0), [], samples=4000)
    assert found["precision"] == 1
    assert found["recall"] == pytest.approx(0.55, abs=0.03)  # 0.5 m, and what is nearer than 5 cm to it
    view = ball_view(look_at((0.25, 0.5, 2.0), (0.25, 0.5, 0), (0, 1, 0)), pinhole(20, 40, 14.0), (40, 20))
    assert score_mesh(half, square(0.0), [view], samples=4000)["recall"] > 0.97
    away = ball_view(look_at((0.25, 0.5, 2.0), (0.25, 0.5, 3), (0, 1, 0)), K, (30, 40))
    with pytest.raises(UserError, match="no true point"):
        score_mesh(half, square(0.0), [away], samples=100)


def test_what_lies_beyond_the_longest_depth_is_left_out_of_both_meshes():
    view = ball_view(look_at((0.5, 0.5, 2.0), (0.5, 0.5, 0), (0, 1, 0)), pinhole(20, 40, 14.0), (40, 20))
    behind = square(-1.5)  # 3.5 m before the camera, which stands 2 m before the true one
    both = Mesh(
        np.concatenate([square(0.0).vertices, behind.vertices]),
        np.concatenate([square(0.0).faces, behind.faces + 4]),
    )
    whole = score_mesh(both, square(0.0), [view], samples=4000)
    assert whole["precision"] < 0.8
    near = score_mesh(both, square(0.0), [view], samples=4000, longest=3.0)
    assert (near["precision"], near["recall"]) == (1, 1)
    assert near["accuracy"] < 0.05


def test_a_reference_is_read_as_it_was_written_and_polygons_become_triangles(tmp_path):
    mesh = mesh_of_ball()
    read = read_reference(write_mesh(mesh, tmp_path / "mesh.ply"))
    assert np.array_equal(read.vertices, mesh.vertices)
    assert np.array_equal(read.faces, mesh.faces)
    header = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    header += "element face 2\nproperty list uchar int vertex_index\nend_header\n"
    (tmp_path / "mixed.ply").write_text(header + "0 0 0\n1 0 0\n1 1 0\n0 1 0\n2 0 0\n4 0 1 2 3\n3 1 4 2\n")
    assert read_reference(tmp_path / "mixed.ply").faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 2]]


def test_a_cloud_is_no_reference(tmp_path):
    header = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    (tmp_path / "cloud.ply").write_text(header + "end_header\n0 0 0\n")
    with pytest.raises(UserError, match=r"cloud\.ply: holds no triangles"):
        read_reference(tmp_path / "cloud.ply")
