"""Meshes, their files, and the surfaces of grids of distances."""

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.iso_surfaces import all_corners, any_corner, surface_of
from ponderv2.meshes import Mesh, write_mesh


def ball(radius=0.4, points=33, spacing=0.03, origin=(1.0, 2.0, -3.0)):
    """Distances to a sphere in the middle of a grid, and the middle."""
    spacing = np.broadcast_to(spacing, 3)
    middle = np.array(origin) + (points - 1) / 2 * spacing
    axes = np.stack(np.meshgrid(*[np.arange(points)] * 3, indexing="ij"), -1) * spacing + origin
    return (np.linalg.norm(axes - middle, axis=-1) - radius).astype(np.float32), middle


@pytest.mark.parametrize("spacing", [0.03, np.array([0.03, 0.04, 0.05])])
def test_the_surface_of_a_ball_is_in_metres_and_its_normals_point_outward(spacing):
    distances, middle = ball(spacing=spacing)
    mesh = surface_of(distances, np.ones_like(distances, bool), np.array([1.0, 2.0, -3.0]), spacing)
    away = mesh.vertices - middle
    lengths = np.linalg.norm(away, axis=1)
    assert np.abs(lengths - 0.4).max() < 0.002
    assert ((away / lengths[:, None]) * mesh.normals).sum(1).min() > 0.97
    twice = mesh.face_normals()
    assert np.linalg.norm(twice, axis=1).sum() / 2 == pytest.approx(4 * np.pi * 0.4**2, rel=0.01)
    assert (twice * away[mesh.faces[:, 0]]).sum(1).min() > 0  # corners are counter-clockwise from outside
    # Volume by the divergence theorem: sign and closedness at once.
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    volume = np.linalg.det(corners - middle).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.02)


def test_only_cells_that_were_seen_at_all_corners_have_triangles():
    distances, middle = ball()
    seen = np.zeros_like(distances, bool)
    seen[:, :, 16:] = True  # the upper half, from the middle on
    mesh = surface_of(distances, seen, np.array([1.0, 2.0, -3.0]), 0.03)
    assert mesh.vertices[:, 2].min() >= middle[2] - 1e-6
    area = np.linalg.norm(mesh.face_normals(), axis=1).sum() / 2
    assert area == pytest.approx(2 * np.pi * 0.4**2, rel=0.01)
    assert np.unique(mesh.faces).tolist() == list(range(len(mesh.vertices)))


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_a_grid_that_crosses_nothing_gives_no_triangles(value):
    mesh = surface_of(np.full((4, 4, 4), value, np.float32), np.ones((4, 4, 4), bool), np.zeros(3), 1.0)
    assert (mesh.vertices.shape, mesh.faces.shape, mesh.normals.shape) == ((0, 3), (0, 3), (0, 3))


def test_a_step_to_what_was_not_seen_is_no_surface():
    distances = np.full((5, 5, 5), 0.2, np.float32)
    distances[:, :, 3:] = -0.2
    seen = np.ones((5, 5, 5), bool)
    assert len(surface_of(distances, seen, np.zeros(3), 1.0).faces) == 32
    seen[:, :, 3:] = False
    assert len(surface_of(distances, seen, np.zeros(3), 1.0).faces) == 0


def test_grids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 3, 3\) and observed \(3, 3, 2\)"):
        surface_of(np.ones((3, 3, 3), np.float32), np.ones((3, 3, 2), bool), np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="2 or more"):
        surface_of(np.ones((3, 3, 1), np.float32), np.ones((3, 3, 1), bool), np.zeros(3), 1.0)


def test_cells_with_all_and_with_any_of_their_corners():
    points = np.random.default_rng(0).random((4, 5, 3)) < 0.7
    for x, y, z in np.ndindex(3, 4, 2):
        block = points[x : x + 2, y : y + 2, z : z + 2]
        assert all_corners(points)[x, y, z] == block.all()
        assert any_corner(points)[x, y, z] == block.any()


def triangle(**more):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0.5]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2]]), **more)


FULL = {
    "normals": np.array([[0, 0, 1], [0, 0, 1], [1, 0, 0]], np.float32),
    "colors": np.array([[255, 0, 1], [2, 3, 4], [9, 8, 7]], np.uint8),
}


def test_a_ply_file_holds_what_its_header_says(tmp_path):
    path = write_mesh(triangle(**FULL), tmp_path / "new" / "mesh.ply")
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert [line.split()[1:] for line in lines if line.startswith("element")] == [
        ["vertex", "3"],
        ["face", "1"],
    ]
    names = [line.split()[-1] for line in lines if line.startswith("property")]
    assert names == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "vertex_indices"]
    assert len(body) == 3 * (6 * 4 + 3) + 1 + 3 * 4
    for row in range(3):
        part = body[27 * row :]
        assert np.frombuffer(part, "<f4", 6).tolist() == [
            *triangle().vertices[row].tolist(), *FULL["normals"][row].tolist(),
        ]  # fmt: skip
        assert list(part[24:27]) == FULL["colors"][row].tolist()
    assert body[81] == 3
    assert np.frombuffer(body[82:], "<i4").tolist() == [0, 1, 2]


@pytest.mark.parametrize("more", [{}, FULL])
def test_an_obj_file_counts_from_one(more, tmp_path):
    lines = write_mesh(triangle(**more), tmp_path / "mesh.obj").read_text().splitlines()
    told = [line.split() for line in lines if not line.startswith("#")]
    corners = [[float(word) for word in line[1:4]] for line in told if line[0] == "v"]
    assert corners == triangle().vertices.tolist()
    assert [line[1:] for line in told if line[0] == "f"] == [
        ["1//1", "2//2", "3//3"] if more else ["1", "2", "3"]
    ]
    if more:
        colors = np.array([[float(word) for word in line[4:]] for line in told if line[0] == "v"])
        assert np.abs(colors * 255 - FULL["colors"]).max() < 0.02
        assert sum(line[0] == "vn" for line in told) == 3


def test_other_names_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match=r"mesh\.stl: a mesh is written as \.ply or \.obj"):
        write_mesh(triangle(), tmp_path / "mesh.stl")
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_mesh_has_no_vertices_that_nothing_uses():
    mesh = Mesh(np.arange(15, dtype=np.float32).reshape(5, 3), np.array([[0, 1, 2], [2, 3, 4]]))
    part = mesh.kept(np.array([False, True]))
    assert part.vertices.tolist() == mesh.vertices[2:].tolist()
    assert part.faces.tolist() == [[0, 1, 2]]
