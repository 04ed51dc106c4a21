"""Folders of frames without a cloud or classes: matching by time, cameras, where up is, tables."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.cameras import unproject
from ponderv2.leveling import level_up, upright_of_cameras
from ponderv2.reading import open_scenes
from ponderv2.synthetic_layouts import (
    write_rooms,
)
from ponderv2.tabletop import table_pose

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from written_layouts import six_rooms, write_layouts


@pytest.fixture(scope="module")
def rooms():
    return six_rooms()


@pytest.fixture(scope="module")
def written(rooms, tmp_path_factory):
    return write_layouts(rooms, tmp_path_factory.mktemp("layouts"), ("7scenes", "tabletop"))


def test_tum_frames_are_matched_by_time(rooms, tmp_path):
    folder = write_rooms("tum", rooms[:1], tmp_path / "tum") / "room0020"
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    late = lines[2].split()
    late[0] = f"{float(late[0]) + 0.5:.6f}"
    lines[2] = " ".join(late)
    lines[3] = " ".join([*lines[3].split()[:4], "0", "0", "0", "0"])
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    scenes = open_scenes(f"tum:{folder}")
    assert dict(scenes.skipped) == {"no pose at its time": 1, "pose not rigid": 1}
    assert len(scenes[0].view_names) == 2
    (folder / "rgb.txt").write_text("soon rgb/1.png\n")
    with pytest.raises(UserError, match=r"rgb.txt:1: does not begin with a time"):
        open_scenes(f"tum:{folder}")


def test_tum_folders_know_their_cameras(rooms, tmp_path):
    folder = write_rooms("tum", rooms[:1], tmp_path / "tum") / "room0020"
    (folder / "camera-intrinsics.txt").unlink()
    known = folder.rename(tmp_path / "rgbd_dataset_freiburg2_desk")
    assert open_scenes(f"tum:{known}")[0].view(0).intrinsics[0, 0] == 520.9
    other = known.rename(tmp_path / "mine")
    assert open_scenes(f"tum:{other}")[0].view(0).intrinsics.tolist() == [
        [525, 0, 319.5],
        [0, 525, 239.5],
        [0, 0, 1],
    ]


def test_where_up_is_in_seven_scenes_is_seen_from_floors_and_tops(written, rooms):
    scene = open_scenes(f"7scenes:{written['7scenes']}")[0]
    np.testing.assert_allclose(scene.up, (0, -1, 0), atol=5e-3)
    floor = rooms[0].view(0).label == 0
    view = scene.view(0)
    v, u = np.nonzero(floor)
    np.testing.assert_allclose(unproject(view, u, v, view.depth[v, u])[:, 1], 0, atol=2e-3)
    assert scene.with_views([1]).up == scene.up
    assert open_scenes(f"7scenes:{written['7scenes']}", up="z")[0].up == (0, 0, 1)


def test_level_is_the_direction_that_most_agree_on():
    random = np.random.default_rng(0)
    truth = np.array([0.3, -0.2, 0.93])
    truth /= np.linalg.norm(truth)
    level = truth + random.normal(0, 0.03, (300, 3))
    other = random.normal(0, 1, (700, 3))
    normals = np.concatenate([level, other])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = level_up(normals, (0, 0, 1))
    assert found @ truth > np.cos(np.radians(1.5))
    assert level_up(normals, found) @ truth > np.cos(np.radians(1.5)), "from nearby the same"
    few = np.array([[0, 0, 1.0]] + [[1.0, 0, 0]] * 99)
    assert level_up(few, (0, 0.1, 1))[1] > 0.05, "one of a hundred does not decide"
    assert level_up(np.zeros((0, 3)), (0, 0, 2)).tolist() == [0, 0, 1]


def test_cameras_say_roughly_where_up_is(rooms):
    found = upright_of_cameras(rooms[0].poses)
    assert found[2] > 0.9
    assert upright_of_cameras([np.eye(4), np.diag([-1, -1, 1, 1.0])]).tolist() == [0, 0, 1]


def test_tabletop_frames_have_classes_by_their_numbers(written):
    scenes = open_scenes(f"tabletop:{written['tabletop']}:learn-labelled")
    box, cylinder = scenes[0], scenes[-1]
    assert (box.name, cylinder.name[:6]) == ("learn0", "learn3")
    cloud = box.cloud()
    assert set(cloud.semantic) <= {0, 1}
    assert set(cylinder.cloud().semantic) <= {0, 2}
    objects = set(cloud.instance) - {-1}
    assert all((cloud.semantic[cloud.instance == number] == 1).all() for number in objects)
    assert (cloud.instance[cloud.semantic == 0] == -1).all()
    assert scenes.class_names == ("table", "box", "cylinder")


def test_a_table_is_found_below_its_camera(rooms):
    pose = rooms[0].poses[0]
    view = rooms[0].seen_from(pose, np.array([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]), (41, 31))
    found = table_pose(view.depth, view.intrinsics)
    v, u = np.nonzero(view.depth)
    points = unproject(view, u, v, view.depth[v, u])
    from dataclasses import replace

    stood = unproject(replace(view, camera_to_world=found), u, v, view.depth[v, u])
    label = view.label[v, u]
    largest = np.bincount(label[label >= 0]).argmax()
    across = stood[label == largest]
    assert np.percentile(np.abs(across[:, 2]), 40) < 5e-3, "most of the largest plane lies at z = 0"
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    assert found[2, 3] > 0, "the camera is above it"
    distances = np.linalg.norm(points[:50, None] - points[None, 50:100], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(stood[:50, None] - stood[None, 50:100], axis=2), distances, atol=1e-9
    )


def test_a_table_of_too_few_points_still_has_a_pose():
    depth = np.zeros((4, 4), np.float32)
    depth[0, 0] = 1
    assert np.isfinite(table_pose(depth, np.eye(3))).all()
