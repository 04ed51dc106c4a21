"""Cameras, rays and made-up rooms, against hand computation and against rays that walk by the distance."""

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.cameras import directions, look_at, pinhole, pose_fault, project, turn_up, unproject
from ponderv2.rays import all_rays, draw_rays, join_rays, pixel_rays
from ponderv2.scenes import BadFrame, View
from ponderv2.synthetic import CLASSES, make_room, make_rooms, open_synthetic


@pytest.fixture(scope="module")
def room():
    return make_room(3, views=4, size=(40, 30), points=3000)


def plain_view(depth, *, pose=None, label=None):
    height, width = depth.shape
    color = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    camera = np.array([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]])
    return View("v", color, depth.astype(np.float32), label, camera, np.eye(4) if pose is None else pose)


def test_a_pixel_unprojects_by_hand():
    view = plain_view(np.full((3, 3), 4.0))
    assert unproject(view, np.array([1, 2]), np.array([1, 0]), np.array([4, 4])).tolist() == [
        [0, 0, 4],
        [2, -2, 4],
    ]
    found = project(view, np.array([[2.0, -2, 4], [0, 0, -1]]))
    assert found.u[0] == 2
    assert found.v[0] == 0
    assert found.depth.tolist() == [4, -1]


def test_project_undoes_unproject_for_every_pixel_of_made_up_views(room):
    for index in range(4):
        view = room.view(index)
        v, u = np.divmod(np.arange(view.depth.size), 40)
        found = project(view, unproject(view, u, v, view.depth.ravel()))
        np.testing.assert_allclose(found.u, u, atol=1e-9)
        np.testing.assert_allclose(found.v, v, atol=1e-9)
        np.testing.assert_allclose(found.depth, view.depth.ravel(), rtol=1e-12)


def test_depth_of_made_up_views_is_where_walking_by_the_distance_ends(room):
    view = room.view(1)
    v, u = np.divmod(np.arange(view.depth.size), 40)
    steps = directions(view, u, v)
    lengths = np.linalg.norm(steps, axis=1)
    at = np.zeros(len(steps))
    for _ in range(400):  # no step leads past a surface, as the distance is exact
        at += room.sdf(view.camera_to_world[:3, 3] + steps * (at / lengths)[:, None])
    below = (view.camera_to_world[:3, 3] + steps * (at / lengths)[:, None])[:, 2] < room.room.height - 0.01
    assert below.mean() > 0.9
    np.testing.assert_allclose(at[below] / lengths[below], view.depth.ravel()[below], atol=2e-4)


def test_rays_above_the_walls_have_no_depth_and_no_label(room):
    up = room.seen_from(look_at((1.5, 1.5, 1.2), (1.6, 1.5, 2.4)))
    assert (up.depth == 0).any()
    assert (up.label[up.depth == 0] == -1).all()
    assert (up.label[up.depth > 0] >= 0).all()


def test_the_cloud_lies_on_the_surfaces_that_it_says(room):
    cloud = room.cloud()
    assert len(cloud) == 3000
    np.testing.assert_allclose(room.sdf(cloud.coord), 0, atol=1e-6)
    step = 1e-4  # the distance grows along the normal, as fast as one walks
    np.testing.assert_allclose(
        room.sdf(cloud.coord + step * cloud.normal.astype(np.float64)), step, atol=1e-6
    )
    assert set(cloud.semantic) == {0, 1, 2, 3, 4}
    floor = cloud.semantic == 0
    np.testing.assert_allclose(cloud.coord[floor, 2], 0, atol=1e-7)
    assert (cloud.instance[cloud.semantic < 2] == -1).all()
    for number, solid in enumerate(room.room.solids):
        mine = cloud.instance == number
        assert (cloud.semantic[mine] == solid.label).all()
        np.testing.assert_allclose(solid.sdf(cloud.coord[mine].astype(np.float64)), 0, atol=1e-6)


def test_points_are_equally_dense_on_floor_and_walls():
    room = make_room(5, views=0, points=40_000)
    cloud, shape = room.cloud(), room.room
    walls = 2 * (shape.width + shape.length) * shape.height
    floor = cloud.semantic == 0
    open_floor = floor & (room.sdf(cloud.coord + np.array([0, 0, 0.3])) > 0.29)
    grid = np.stack(
        np.meshgrid(*(np.linspace(0, side, 400) for side in (shape.width, shape.length))), -1
    ).reshape(-1, 2)
    lifted = np.column_stack([grid, np.full(len(grid), 0.3)])
    area = (room.sdf(lifted) > 0.29).mean() * shape.width * shape.length
    assert open_floor.sum() / area == pytest.approx((cloud.semantic == 1).sum() / walls, rel=0.05)


def test_colour_does_not_depend_on_the_view(room):
    near = room.seen_from(room.poses[0], pinhole(7, 5, 40), (7, 5))
    v, u = np.divmod(np.arange(35), 7)
    points = unproject(near, u, v, near.depth.ravel())
    for index in (1, 2, 3):
        view = room.view(index)
        at = project(view, points)
        inside = (at.depth > 0) & (at.u > 0) & (at.u < 39) & (at.v > 0) & (at.v < 29)
        for point in np.flatnonzero(inside):
            eye = view.camera_to_world[:3, 3]
            towards = points[point] - eye
            hit = room.room.cast(eye, towards[None])
            if abs(hit.depth[0] - 1) < 1e-6:  # not hidden
                color = room.shade(points[point][None], hit.normal, hit.surface)
                assert np.abs(color[0] - near.color[v[point], u[point]]).max() <= 0.51


def test_the_same_seed_makes_the_same_room():
    first, second = (make_room(11, views=2, points=100) for _ in range(2))
    assert np.array_equal(first.view(1).color, second.view(1).color)
    assert np.array_equal(first.cloud().coord, second.cloud().coord)
    assert not np.array_equal(first.cloud().coord, make_room(12, views=2, points=100).cloud().coord)


def test_rooms_by_words_are_those_by_function():
    from pathlib import Path

    from ponderv2.read_options import ReadOptions

    scenes = open_synthetic(Path("2"), "7", ReadOptions())
    assert [scene.name for scene in scenes] == ["room0007", "room0008"]
    assert scenes.class_names == CLASSES
    assert np.array_equal(scenes[0].view(3).depth, make_rooms(2, seed=7)[0].view(3).depth)
    with pytest.raises(UserError, match="whole numbers"):
        open_synthetic(Path("many"), None, ReadOptions())


def test_cameras_stand_clear_of_everything():
    for seed in range(6):
        scene = make_room(seed, views=6)
        assert min(scene.sdf(pose[None, :3, 3])[0] for pose in scene.poses) > 0.25
        for pose in scene.poses:
            assert pose_fault(pose) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda pose: pose[:3], "shape"),
        (lambda pose: pose * np.nan, "not finite"),
        (lambda pose: np.where(pose == 1, -np.inf, pose), "not finite"),
        (lambda pose: pose * [[1.02], [1.02], [1.02], [1]], "not rigid"),
        (lambda pose: pose @ np.diag([1, 1, -1, 1.0]), "mirrored"),
        (lambda pose: pose + np.eye(4)[3][:, None] * 0.5, "last row"),
    ],
)
def test_unsound_poses_are_named(change, fault):
    assert fault in pose_fault(change(look_at((1, 2, 3), (0, 0, 0))))


def test_poses_rounded_as_those_of_seven_scenes_are_sound():
    pose = look_at((1, 2, 3), (0, 0, 0))
    pose[:3, :3] *= 0.99986 ** (1 / 3)  # their determinant
    assert pose_fault(pose) is None


def test_a_camera_looks_where_it_is_told():
    pose = look_at((1, 1, 1), (4, 5, 1))
    np.testing.assert_allclose(pose[:3, 2], (0.6, 0.8, 0), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 1], (0, 0, -1), atol=1e-12)
    with pytest.raises(ValueError, match="cannot look"):
        look_at((0, 0, 1), (0, 0, 0))


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, -1), (0, -1, 0), (1, 0, 0), (0.3, -0.5, 0.2)])
def test_turn_up_is_a_rotation_that_brings_up_to_z(up):
    turn = turn_up(up)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(turn @ up / np.linalg.norm(up), (0, 0, 1), atol=1e-12)


def test_ray_depth_is_not_planar_depth():
    """Regression: before the original's commit bd8cda8 one was compared with the other."""
    view = plain_view(np.full((3, 3), 4.0))
    rays = all_rays(view)
    planar = (rays.depth * rays.direction[:, 2]).reshape(3, 3)
    np.testing.assert_allclose(planar, 4, rtol=1e-6)
    assert rays.depth.reshape(3, 3)[0, 0] == pytest.approx(4 * np.sqrt(1.5))
    assert rays.depth.reshape(3, 3)[1, 1] == pytest.approx(4)
    ends = unproject(view, np.tile([0, 1, 2], 3), np.repeat([0, 1, 2], 3), np.full(9, 4))
    np.testing.assert_allclose(rays.origin + rays.direction * rays.depth[:, None], ends, atol=1e-6)


def test_drawn_rays_are_those_of_pixels_with_depth():
    depth = np.zeros((6, 5))
    depth[2:4, 1:4] = np.arange(1, 7).reshape(2, 3)
    label = np.arange(30).reshape(6, 5)
    view = plain_view(depth, label=label)
    rays = draw_rays(view, 4, np.random.default_rng(0))
    whole = all_rays(view)
    for number, pixel in enumerate(rays.label):  # the label is the pixel's number
        for mine, every in zip(rays, whole, strict=True):
            assert np.array_equal(mine[number], every[pixel])
    assert len(set(rays.label)) == 4
    assert (rays.depth > 0).all()
    np.testing.assert_allclose(rays.color, view.color.reshape(-1, 3)[rays.label] / 255, atol=1e-7)


def test_fewer_pixels_than_rays_are_drawn_again():
    depth = np.zeros((6, 5))
    depth[0, :3] = 1
    rays = draw_rays(plain_view(depth, label=np.arange(30).reshape(6, 5)), 50, np.random.default_rng(1))
    assert rays.depth.shape == (50,)
    assert set(rays.label) == {0, 1, 2}


def test_a_view_without_depth_is_a_bad_frame():
    with pytest.raises(BadFrame, match="no pixel has depth") as caught:
        draw_rays(plain_view(np.zeros((4, 4))), 3, np.random.default_rng(0))
    assert caught.value.reason == "no depth"


def test_only_drawn_rays_are_built(monkeypatch, room):
    """Regression: the original builds a ray for each of 307,200 pixels and keeps 256."""
    import ponderv2.rays

    built = []
    monkeypatch.setattr(
        ponderv2.rays, "directions", lambda view, u, v: built.append(len(u)) or directions(view, u, v)
    )
    draw_rays(room.view(0), 17, np.random.default_rng(0))
    assert built == [17]


def test_rays_without_label_image_are_ignored_and_rays_join():
    view = plain_view(np.ones((2, 2)))
    rays = join_rays([pixel_rays(view, np.array([0])), pixel_rays(view, np.array([3, 1]))])
    assert rays.label.tolist() == [-1, -1, -1]
    assert rays.origin.shape == (3, 3)
