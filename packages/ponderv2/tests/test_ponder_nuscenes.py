"""nuScenes infos of all three forms, and the demonstration sample of mmdetection3d."""

import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.testing import data_folder
from ponderv2.array_pickle import load_arrays
from ponderv2.boxes3d import corners, points_inside
from ponderv2.cameras import project
from ponderv2.nuscenes import CLASSES, open_nuscenes

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))

from made_up_streets import AHEAD, INTRINSICS, street_boxes, write_nuscenes


@pytest.fixture(scope="module")
def sample():
    return open_nuscenes(data_folder("mmdet3d-demo", "nuscenes"))[0]


@pytest.fixture(scope="module")
def sample_info():
    (path,) = data_folder("mmdet3d-demo", "nuscenes").glob("*.pkl")
    return load_arrays(path)["data_list"][0]


def test_the_sample_has_its_points_cameras_and_boxes(sample):
    cloud = sample.cloud()
    assert len(cloud) == 34_688
    assert 0 <= cloud.strength.min() < cloud.strength.max() <= 1
    assert len(sample.view_names) == 6
    assert len(sample.boxes()) == 66  # of 69: neither LiDAR nor radar met three of them
    assert sample.classes == CLASSES
    assert {sample.classes[label] for label in sample.boxes().label} >= {"car", "pedestrian", "barrier"}


def test_boxes_of_the_sample_hold_the_points_that_nuscenes_counted(sample, sample_info):
    """Place, size, angle and the frame of reference of a box all have to be right for that."""
    valid = [one for one in sample_info["instances"] if one["bbox_3d_isvalid"]]
    counted = np.array([int(one["num_lidar_pts"]) for one in valid])
    inside = points_inside(sample.boxes(), sample.cloud().coord).sum(1)
    assert sample.boxes().points.tolist() == counted.tolist()
    assert (np.abs(inside - counted) <= 2).sum() == 64  # two more differ: by 5 of 11 and 16 of 16 points


def test_boxes_of_the_sample_fall_on_the_rectangles_of_its_images(sample, sample_info):
    """An oracle of the calibration: the rectangles were made by nuScenes' own tool for each camera."""
    compared = 0
    unmatched = 0
    for index, name in enumerate(sample.view_names):
        view = sample.view(index)
        height, width = view.depth.shape
        middles = project(view, sample.boxes().center)
        for one in sample_info["cam_instances"][name]:
            off = np.hypot(middles.u - one["center_2d"][0], middles.v - one["center_2d"][1])
            off[middles.depth < 0] = np.inf
            near = int(off.argmin())
            if off[near] > 0.1:
                unmatched += 1  # a box that is not valid
                continue
            assert middles.depth[near] == pytest.approx(one["depth"], abs=1e-3)
            seen = project(view, corners(sample.boxes())[near])
            inside = (seen.u > 0) & (seen.u < width) & (seen.v > 0) & (seen.v < height) & (seen.depth > 0)
            if inside.all():
                found = np.array([seen.u.min(), seen.v.min(), seen.u.max(), seen.v.max()])
                drawn = np.array(one["bbox"])
                shared = np.prod(np.minimum(found, drawn)[2:] - np.maximum(found, drawn)[:2])
                union = np.prod(found[2:] - found[:2]) + np.prod(drawn[2:] - drawn[:2]) - shared
                assert shared / union > 0.9  # boxes stand upright in the world there, on the LiDAR here
                compared += 1
    assert unmatched == 3
    assert compared > 50


def test_lidar_points_in_the_images_have_the_depth_of_their_boxes(sample):
    for index in (0, 3):
        view = sample.view(index)
        assert view.color.shape == (900, 1600, 3)
        assert 2_500 < (view.depth > 0).sum() < 12_000
        assert view.depth.max() < 130
        v, u = np.nonzero(view.depth)
        steps = np.linalg.solve(view.intrinsics, np.stack([u, v, np.ones(len(u))])) * view.depth[v, u]
        world = view.camera_to_world[:3, :3] @ steps + view.camera_to_world[:3, 3:]
        # each depth belongs to a point of the sweep, at most half a pixel (times the depth) away
        from scipy.spatial import cKDTree

        gap, _ = cKDTree(sample.cloud().coord).query(world.T)
        assert (gap <= 0.75 * view.depth[v, u] / view.intrinsics[0, 0] + 1e-3).all()


@pytest.mark.parametrize("form", ["new", "old", "oldest"])
def test_all_forms_of_infos_give_the_same_frames(tmp_path, form):
    write_nuscenes(tmp_path, form=form)
    scenes = open_nuscenes(tmp_path)
    assert [scene.name for scene in scenes] == ["frame0", "frame1"]
    expected, boxes = street_boxes(1), scenes[1].boxes()
    if form != "new":
        expected = expected[:3]  # the last one is not valid
    assert np.allclose(boxes.center, expected.center)
    assert np.allclose(boxes.size, expected.size)
    assert np.allclose(boxes.yaw, expected.yaw)
    assert np.allclose(boxes.velocity, expected.velocity, equal_nan=True)
    assert boxes.label.tolist() == expected.label.tolist()
    assert boxes.points.tolist() == [7] * len(expected)
    view = scenes[1].view(0)
    assert view.name == "CAM_FRONT"
    assert np.allclose(view.intrinsics, INTRINSICS)
    assert np.allclose(np.linalg.inv(view.camera_to_world), AHEAD)


def test_the_nearest_point_of_a_pixel_counts(tmp_path):
    write_nuscenes(tmp_path, 1)
    scene = open_nuscenes(tmp_path)[0]
    view = scene.view(0)
    seen = project(view, scene.cloud().coord)
    for v, u in zip(*np.nonzero(view.depth), strict=True):
        here = (np.rint(seen.u) == u) & (np.rint(seen.v) == v) & (seen.depth > 0.1)
        assert view.depth[v, u] == pytest.approx(seen.depth[here].min(), rel=1e-5)


def test_a_split_is_found_by_the_pickles_name(tmp_path):
    write_nuscenes(tmp_path, 2, name="nuscenes_infos_train")
    write_nuscenes(tmp_path, 1, name="nuscenes_infos_val")
    assert len(open_nuscenes(tmp_path, "train")) == 2
    assert len(open_nuscenes(tmp_path, "val")) == 1
    assert len(open_nuscenes(tmp_path / "nuscenes_infos_val.pkl")) == 1
    with pytest.raises(UserError, match=r"2 files are the info pickle; .*nuscenes_infos_train\.pkl"):
        open_nuscenes(tmp_path)
    with pytest.raises(UserError, match="0 files are the info pickle of the split test"):
        open_nuscenes(tmp_path, "test")


def test_frames_without_a_sweep_are_counted_and_an_empty_set_is_refused(tmp_path):
    write_nuscenes(tmp_path)
    (tmp_path / "samples" / "LIDAR_TOP" / "0000.pcd.bin").unlink()
    scenes = open_nuscenes(tmp_path)
    assert [scene.name for scene in scenes] == ["frame1"]
    assert scenes.skipped == {"no LiDAR file": 1}
    shutil.rmtree(tmp_path / "samples")
    with pytest.raises(UserError, match="none of the 2 LiDAR files"):
        open_nuscenes(tmp_path)


def changed(folder, change):
    path = write_nuscenes(folder, 1)
    content = pickle.loads(path.read_bytes())
    change(content["data_list"][0])
    path.write_bytes(pickle.dumps(content))
    return path


def set_item(*keys, value):
    def change(info):
        for key in keys[:-1]:
            info = info[key]
        info[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (set_item("lidar_points", "lidar_path", value="../outside.bin"), "no path below the data"),
        (set_item("images", "CAM_FRONT", "lidar2cam", value=np.full((4, 4), np.nan)), "pose not finite"),
        (set_item("images", "CAM_FRONT", "lidar2cam", value=np.eye(4) * 2), "pose without a last row"),
        (set_item("images", "CAM_FRONT", "cam2img", value=np.zeros((3, 3))), "no intrinsics"),
        (set_item("instances", 0, "bbox_label_3d", value=10), "classes 0 to 10, but there are 10"),
        (set_item("instances", 0, "bbox_3d", value=[np.inf] * 7), "not finite"),
        (lambda info: info["lidar_points"].pop("lidar_path"), "info 0 has no 'lidar_path'"),
    ],
)
def test_damaged_infos_are_named(tmp_path, change, text):
    with pytest.raises(UserError, match=text) as error:
        open_nuscenes(changed(tmp_path, change))
    assert "info 0" in str(error.value)


def test_sweeps_that_do_not_fit_are_refused(tmp_path):
    write_nuscenes(tmp_path, 1)
    scene = open_nuscenes(tmp_path)[0]
    sweep = scene.frame.lidar
    raw = np.fromfile(sweep, np.float32)
    sweep.write_bytes(raw.tobytes()[:-4])
    with pytest.raises(UserError, match="are not points of 5 float32 numbers"):
        open_nuscenes(tmp_path)[0].cloud()
    np.full(10, np.nan, np.float32).tofile(sweep)
    with pytest.raises(UserError, match="none of its points is finite"):
        open_nuscenes(tmp_path)[0].cloud()
    np.full(10, -3, np.float32).tofile(sweep)
    with pytest.raises(UserError, match=r"intensities of -3 to -3 do not fit 0\.\.255"):
        open_nuscenes(tmp_path)[0].cloud()
    mixed = np.concatenate([raw[:5], np.full(5, np.nan, np.float32)])
    mixed.astype(np.float32).tofile(sweep)
    assert len(open_nuscenes(tmp_path)[0].cloud()) == 1


def test_a_sweep_is_read_once_for_a_frame_and_anew_when_the_file_is_another(tmp_path, monkeypatch):
    write_nuscenes(tmp_path, 1)
    scene = open_nuscenes(tmp_path)[0]
    reads = []
    read = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *given: reads.append(given) or read(*given))
    cloud = scene.cloud()
    scene.view(0)
    scene.view(1)
    assert len(reads) == 1
    cloud.coord[:] = 7  # a caller's array is the caller's own
    assert not (scene.cloud().coord == 7).any()
    half = read(scene.frame.lidar, np.float32)[:500]
    half.tofile(scene.frame.lidar)
    os.utime(scene.frame.lidar, ns=(1, 1))
    assert len(scene.cloud()) == 100


def test_images_that_cannot_be_read_are_named(tmp_path):
    write_nuscenes(tmp_path, 1)
    image = tmp_path / "samples" / "CAM_FRONT" / "0000.png"
    image.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0000\.png: not an image"):
        open_nuscenes(tmp_path)[0].view(0)
    image.unlink()
    assert open_nuscenes(tmp_path)[0].view_names == ("CAM_BACK",)
