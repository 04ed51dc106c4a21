"""Depth in a wrong unit, and class numbers without a name: refused, with what they look like."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.depth_units import suspected_unit
from ponderv2.reading import open_scenes
from ponderv2.scannet import label_table
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


@pytest.mark.parametrize("scale", [1.0, 100.0, 5000.0, 10_000.0])
def test_depth_in_a_wrong_unit_is_refused_and_the_unit_is_named(own, rooms, scale):
    for index in range(4):
        raw = np.maximum(raw_depth(rooms[0].view(index), scale), 1)
        spoil(own, index, depth=raw)
    with pytest.raises(UserError, match=rf"is no room: give --depth-scale {scale:g} ") as caught:
        open_scenes(f"rgbd:{own}")
    assert "at 1000 units a metre the median depth is" in str(caught.value)
    scene = open_scenes(f"rgbd:{own}", depth_scale=scale)[0]
    assert np.abs(scene.view(0).depth - rooms[0].view(0).depth).max() <= 0.51 / scale


def test_processed_rooms_in_a_wrong_unit_are_refused_too(rooms, tmp_path):
    view, cloud = rooms[0].view(0), rooms[0].cloud()
    content = {
        "intrinsic": view.intrinsics, "extrinsic": view.camera_to_world, "rgb": view.color,
        "depth": raw_depth(view, 100),
    }  # fmt: skip
    write_torch(tmp_path / "Area_1" / "a_rgbd" / "0.pth", content)
    write_torch(tmp_path / "Area_1" / "a.pth", {"coord": cloud.coord})
    with pytest.raises(
        UserError, match=r"at 4000 units a metre .* give --depth-scale 100 \(depth looks like cent"
    ):
        open_scenes(f"s3dis:{tmp_path}")
    assert open_scenes(f"s3dis:{tmp_path}", depth_scale=100)[0].view(0).depth.max() > 1


@pytest.mark.parametrize(("kind", "scale", "names"), [
    ("s3dis", 4000, ("Area_1/a", "Area_1/b")),
    ("structured3d", 1000, ("train/scene_00000/room_0", "train/scene_00000/room_1")),
])  # fmt: skip
def test_each_processed_room_is_asked_for_its_unit(kind, scale, names, rooms, tmp_path):
    for number, (name, units) in enumerate(zip(names, (scale, 100), strict=True)):
        view = rooms[number].view(0)
        content = {
            "intrinsic": view.intrinsics, "extrinsic": view.camera_to_world, "rgb": view.color,
            "depth": raw_depth(view, units),
        }  # fmt: skip
        write_torch(tmp_path / f"{name}_rgbd" / "0.pth", content)
        write_torch(tmp_path / f"{name}.pth", {"coord": rooms[number].cloud().coord})
    first, second = open_scenes(f"{kind}:{tmp_path}")
    assert first.view(0).depth.max() > 1
    with pytest.raises(UserError, match=f"scene {second.name}: at {scale} units a metre"):
        second.view(0)


def test_a_unit_file_counts(own, rooms):
    for index in range(4):
        spoil(own, index, depth=raw_depth(rooms[0].view(index), 5000))
    (own / "depth_scale.txt").write_text("5000\n")
    (own / "up.txt").write_text("-y\n")
    scene = open_scenes(f"rgbd:{own}")[0]
    assert np.abs(scene.view(0).depth - rooms[0].view(0).depth).max() < 1e-3
    assert scene.up == (0, -1, 0)
    (own / "up.txt").write_text("level\n")
    np.testing.assert_allclose(open_scenes(f"rgbd:{own}")[0].up, (0, 0, 1), atol=5e-3)
    (own / "up.txt").write_text("north\n")
    with pytest.raises(UserError, match="'north' is no axis"):
        open_scenes(f"rgbd:{own}")


def test_units_are_suspected_by_a_usual_room():
    assert suspected_unit(2100) == 1000
    assert suspected_unit(9800) == 5000
    assert suspected_unit(2.4) == 1


def test_labels_without_a_class_are_an_error_with_the_numbers(own):
    label = np.zeros((24, 32), np.uint8)
    label[0, :2] = 7, 200
    write_image(own / "label" / "000000.png", label)
    with pytest.raises(
        UserError, match=r"000000.png: labels 7, 200 are none of the 5 classes \(floor, wall, box"
    ):
        open_scenes(f"rgbd:{own}")[0].view(0)


def test_labels_of_a_cloud_without_a_class_are_an_error(tmp_path, rooms):
    cloud = rooms[0].cloud()
    content = {
        "coord": cloud.coord,
        "color": cloud.color,
        "normal": cloud.normal,
        "semantic_gt20": cloud.semantic + 17,
    }
    write_torch(tmp_path / "train" / "scene0000_00.pth", content)
    with pytest.raises(UserError, match=r"scene0000_00.pth: labels 20, 21 are none of the 20 classes"):
        open_scenes(f"scannet:{tmp_path}:train")[0].cloud()


def test_raw_label_images_are_refused_as_nyu40():
    with pytest.raises(UserError, match="number 1191, and NYU40's end at 40"):
        label_table((1, 2), "scannet")(np.array([[1, 1191]]))
    semantic, _ = label_table((1, 2), "scannet")(np.array([[0, 1, 2, 40]], np.uint16))
    assert semantic.tolist() == [[-1, 0, 1, -1]]
    semantic, _ = label_table((1, 1191), "scannet200")(np.array([[1191, 7]], np.uint16))
    assert semantic.tolist() == [[1, -1]]


def test_label_images_of_another_size_are_read_by_nearest_pixels(own, rooms):
    label = rooms[0].view(0).label
    big = np.repeat(np.repeat(label, 3, 0), 3, 1).astype(np.uint8)
    write_image(own / "label" / "000000.png", big)
    assert np.array_equal(open_scenes(f"rgbd:{own}")[0].view(0).label, label)
