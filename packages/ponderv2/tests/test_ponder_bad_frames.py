"""Frames that cannot be used: poses, depth, images; and files of a scene that are not as they should be."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.frame_files import read_depth
from ponderv2.reading import open_scenes
from ponderv2.scenes import BadFrame
from ponderv2.synthetic_layouts import (
    raw_depth,
    write_image,
    write_torch,
)

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from written_layouts import own_folder, six_rooms, spoil


@pytest.fixture(scope="module")
def rooms():
    return six_rooms()


@pytest.fixture
def own(rooms, tmp_path):
    return own_folder(rooms[0], tmp_path / "own")


@pytest.mark.parametrize(
    ("pose", "reason"),
    [
        (lambda pose: np.full((4, 4), -np.inf), "pose not finite"),
        (lambda pose: pose * np.nan, "pose not finite"),
        (lambda pose: pose * [[2], [2], [2], [1]], "pose not rigid"),
        (lambda pose: np.zeros((4, 4)), "pose without a last row of 0 0 0 1"),
        (lambda pose: pose @ np.diag([-1, 1, 1, 1.0]), "pose mirrored"),
    ],
)
def test_a_frame_with_an_unsound_pose_is_left_out_named_and_counted(own, pose, reason):
    spoil(own, 2, pose=pose)
    scenes = open_scenes(f"rgbd:{own}")
    assert scenes[0].view_names == ("000000", "000001", "000003")
    assert dict(scenes.skipped) == {reason: 1}
    assert "000002.txt" in scenes.remarks[0]
    assert reason in scenes.remarks[0]


def test_a_pose_that_is_no_matrix_is_left_out(own):
    (own / "pose" / "000001.txt").write_text("1 2 3\n")
    (own / "pose" / "000002.txt").write_text("lost\n")
    scenes = open_scenes(f"rgbd:{own}")
    assert dict(scenes.skipped) == {"pose unreadable": 2}
    assert "wanted is a matrix of 4 x 4 or 3 x 4" in scenes.remarks[0]


def test_all_frames_left_out_is_an_error_with_the_reasons(own):
    for index in range(3):
        spoil(own, index, pose=lambda pose: pose * np.nan)
    (own / "depth" / "000003.png").unlink()
    with pytest.raises(UserError, match=r"no frame is left \(3 pose not finite, 1 no depth file\)"):
        open_scenes(f"rgbd:{own}")


@pytest.mark.parametrize(
    ("value", "kind"), [(0, np.uint16), (65535, np.uint16), (np.nan, np.float32), (-1, np.float32)]
)
def test_depth_of_nothing_is_a_bad_frame(own, value, kind, tmp_path):
    pixels = np.full((24, 32), value, kind)
    if kind is np.uint16:
        spoil(own, 1, depth=pixels)
    else:
        (own / "depth" / "000001.png").unlink()
        np.save(own / "depth" / "000001.npy", pixels)
    scene = open_scenes(f"rgbd:{own}")[0]
    with pytest.raises(BadFrame, match="no pixel has depth") as caught:
        scene.view(1)
    assert caught.value.reason == "no depth"
    assert "000001" in str(caught.value)
    assert scene.view(2).depth.any()


def test_pixels_of_nothing_are_masked(own):
    raw = np.full((24, 32), 2000, np.uint16)
    raw[0, :3] = 0, 65535, 65534
    spoil(own, 0, depth=raw)
    depth = open_scenes(f"rgbd:{own}")[0].view(0).depth
    assert depth[0, :3].tolist() == [0, 0, np.float32(65.534)]
    assert (depth[1:] == 2).all()
    values = np.array([[1.5, np.nan, np.inf, -np.inf, -2, 0]], np.float32)
    np.save(own / "d.npy", values)
    assert read_depth(own / "d.npy", 1).tolist() == [[1.5, 0, 0, 0, 0, 0]]


def test_files_that_are_no_images_are_bad_frames(own, rooms):
    (own / "color" / "000000.png").write_bytes(b"broken")
    write_image(own / "color" / "000001.png", np.zeros((10, 32, 3), np.uint8))
    spoil(own, 2, depth=np.full((24, 32), 9, np.uint8))
    (own / "depth" / "000003.png").write_bytes(b"")
    scene = open_scenes(f"rgbd:{own}", depth_scale=1000)[0]
    reasons = []
    for index in range(4):
        with pytest.raises(BadFrame) as caught:
            scene.view(index)
        reasons.append(caught.value.reason)
    assert reasons == [
        "colour unreadable",
        "colour of another shape",
        "not a depth image",
        "depth unreadable",
    ]
    with pytest.raises(UserError, match=r"none of its 4 views gives a point; the first: .*000000"):
        scene.cloud()
    assert sum(scene.skipped.values()) == 4


def test_colour_of_another_size_is_brought_to_that_of_depth(own, rooms):
    wide = np.repeat(np.repeat(rooms[0].view(0).color, 2, 0), 2, 1)
    write_image(own / "color" / "000000.png", wide)
    found = open_scenes(f"rgbd:{own}")[0].view(0)
    assert found.color.shape == (24, 32, 3)
    assert np.abs(found.color.astype(int) - rooms[0].view(0).color).mean() < 12


def test_processed_views_that_cannot_be_used(tmp_path, rooms):
    view = rooms[0].view(0)
    good = {
        "intrinsic": view.intrinsics, "extrinsic": view.camera_to_world, "rgb": view.color,
        "depth": raw_depth(view, 4000), "depth_mask": view.depth > 0,
    }  # fmt: skip
    cloud = rooms[0].cloud()
    write_torch(tmp_path / "Area_1" / "a.pth", {"coord": cloud.coord, "color": cloud.color})
    bad = {
        "0": good | {"extrinsic": np.full((4, 4), np.nan)},
        "1": good | {"depth_mask": np.zeros((24, 32), bool)},
        "2": {name: good[name] for name in ("intrinsic", "extrinsic", "rgb")},
        "3": good | {"rgb": view.color[:-1]},
        "4": good | {"depth": np.full((24, 32), 65535, np.uint16)},
        "5": good,
    }
    for name, content in bad.items():
        write_torch(tmp_path / "Area_1" / "a_rgbd" / f"{name}.pth", content)
    ignored = np.full((24, 32), -1)
    ignored[0, :3] = 0, 12, -100
    write_torch(tmp_path / "Area_1" / "a_rgbd" / "6.pth", good | {"semantic_map": ignored})
    write_torch(tmp_path / "Area_1" / "a_rgbd" / "7.pth", good | {"semantic_map": ignored + 1})
    scene = open_scenes(f"s3dis:{tmp_path}:1")[0]
    reasons = []
    for index in range(5):
        with pytest.raises(BadFrame) as caught:
            scene.view(index)
        reasons.append(caught.value.reason)
    assert reasons == [
        "pose not finite",
        "no depth",
        "view unreadable",
        "colour of another shape",
        "no depth",
    ]
    assert scene.view(5).label is None
    label = scene.view(6).label
    assert label[0, :4].tolist() == [0, 12, -1, -1]
    assert (label[1:] == -1).all()
    with pytest.raises(UserError, match=r"7.pth: labels 13 are none of the 13 classes"):
        scene.view(7)
    assert scene.cloud().normal is None
    assert scene.cloud().semantic is None


def test_files_of_a_scene_are_asked_for_by_name(own):
    (own / "intrinsics.txt").write_text("500 500 320\n")
    with pytest.raises(
        UserError, match=r"intrinsics.txt: 3 numbers; wanted is a matrix of 3 x 3 or 4 x 4 or 1 x 4"
    ):
        open_scenes(f"rgbd:{own}")
    (own / "intrinsics.txt").write_text("500 500 320 240\n")
    assert open_scenes(f"rgbd:{own}")[0].view(0).intrinsics[1].tolist() == [0, 500, 240]
    (own / "intrinsics.txt").write_text("0 500 320 240\n")
    with pytest.raises(UserError, match="no intrinsics of a camera"):
        open_scenes(f"rgbd:{own}")
    os.unlink(own / "intrinsics.txt")
    with pytest.raises(UserError, match="no such file; it holds"):
        open_scenes(f"rgbd:{own}")
