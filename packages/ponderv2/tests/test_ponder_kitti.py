"""KITTI folders: calibration, boxes and projection on three real frames."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nonet.errors import UserError
from nonet.testing import data_folder
from ponderv2.boxes3d import corners, make_boxes, moved_boxes, points_inside
from ponderv2.cameras import project
from ponderv2.kitti import CLASSES, open_kitti, read_calibration
from ponderv2.outdoor_batches import DETECTION, OutdoorDataset
from ponderv2.outdoor_frames import OutdoorScene
from ponderv2.outdoor_options import OutdoorOptions


@pytest.fixture(scope="module")
def scenes():
    return open_kitti(data_folder("kitti-3frames"))


@pytest.fixture
def copied(tmp_path):
    source = data_folder("kitti-3frames", "training")
    for part, ending in (("velodyne", "bin"), ("image_2", "png"), ("calib", "txt"), ("label_2", "txt")):
        (tmp_path / "training" / part).mkdir(parents=True)
        shutil.copyfile(source / part / f"000001.{ending}", tmp_path / "training" / part / f"000001.{ending}")
    return tmp_path


def labels(name):
    lines = (data_folder("kitti-3frames", "training", "label_2") / f"{name}.txt").read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("DontCare")]


def test_three_frames_with_points_and_boxes(scenes):
    assert [scene.name for scene in scenes] == ["000000", "000001", "000002"]
    assert [len(scene.cloud()) for scene in scenes] == [115_384, 120_268, 126_891]
    found = [[CLASSES[label] for label in scene.boxes().label] for scene in scenes]
    assert found == [["Pedestrian"], ["Truck", "Car", "Cyclist"], ["Misc", "Car"]]
    assert all(scene.view_names == ("image_2",) for scene in scenes)


def test_corners_fall_on_the_rectangles_of_the_labels(scenes):
    """The rectangles were drawn by hand in the image: an oracle for calibration, place, size and angle."""
    for scene in scenes:
        view = scene.view(0)
        height, width = view.depth.shape
        for box, words in zip(corners(scene.boxes()), labels(scene.name), strict=True):
            seen = project(view, box)
            found = np.array([seen.u.min(), seen.v.min(), seen.u.max(), seen.v.max()])
            found = found.clip(0, [width - 1, height - 1, width - 1, height - 1])
            drawn = np.array(words[4:8], float)
            overlap = np.prod((np.minimum(found, drawn)[2:] - np.maximum(found, drawn)[:2]).clip(0))
            union = np.prod(found[2:] - found[:2]) + np.prod(drawn[2:] - drawn[:2]) - overlap
            assert overlap / union > 0.75, (scene.name, words[0])


def test_places_and_angles_are_those_of_the_labels(scenes):
    for scene in scenes:
        view = scene.view(0)
        for center, size, yaw, words in zip(
            scene.boxes().center, scene.boxes().size, scene.boxes().yaw, labels(scene.name), strict=True
        ):
            height, width, length, *_, angle = map(float, words[8:15])
            assert size == pytest.approx([length, width, height])
            # LiDAR and camera are turned against each other by a degree or so
            expected = (-angle - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
            assert abs((yaw - expected + np.pi) % (2 * np.pi) - np.pi) < 0.03
            assert center[0] == pytest.approx(float(words[13]), abs=1.5)  # forward: z of the camera
            assert project(view, center[None]).depth[0] == pytest.approx(float(words[13]), abs=0.1)


def test_boxes_of_near_objects_hold_points(scenes):
    for scene, least in zip(scenes, (300, 0, 1000), strict=True):
        assert points_inside(scene.boxes(), scene.cloud().coord).sum(1).max() >= least


def test_lidar_edges_meet_image_edges(scenes):
    """Where the sparse depth jumps along a row the image changes, too, more than a few columns beside it."""
    for scene in scenes:
        view = scene.view(0)
        grey = view.color.astype(float).mean(2)
        v, u = np.nonzero(view.depth)
        order = np.lexsort((u, v))
        v, u = v[order], u[order]
        beside = (v[1:] == v[:-1]) & (u[1:] - u[:-1] <= 4) & (u[1:] < grey.shape[1] - 20) & (u[:-1] > 20)
        jump = np.abs(np.diff(view.depth[v, u])) > 2
        rows, columns = v[1:][beside & jump], u[1:][beside & jump]

        def contrast(shift, grey=grey, rows=rows, columns=columns):
            return np.abs(grey[rows, columns + shift + 2] - grey[rows, columns + shift - 4]).mean()

        assert contrast(0) > 1.1 * (contrast(-16) + contrast(16)) / 2


def test_the_last_column_of_p2_moves_the_camera(scenes):
    p2 = read_calibration(data_folder("kitti-3frames", "training", "calib", "000000.txt"))["P2"]
    view = scenes[0].view(0)
    calibration = read_calibration(data_folder("kitti-3frames", "training", "calib", "000000.txt"))
    to_rectified = np.eye(4)
    to_rectified[:3] = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"]
    points = scenes[0].cloud().coord[::500]
    points = points[points[:, 0] > 2]
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1) @ to_rectified.T @ p2.T
    seen = project(view, points)
    assert np.allclose(seen.u, homogeneous[:, 0] / homogeneous[:, 2])
    assert np.allclose(seen.v, homogeneous[:, 1] / homogeneous[:, 2])


def on_picture(scene, points):
    """Which points fall on the image, by the matrices of the calibration file alone."""
    folder = data_folder("kitti-3frames", "training")
    found = read_calibration(folder / "calib" / f"{scene.name}.txt")
    rectified = np.concatenate([points, np.ones((len(points), 1))], 1) @ found["Tr_velo_to_cam"].T
    rectified = np.concatenate([rectified @ found["R0_rect"].T, np.ones((len(points), 1))], 1)
    u, v, w = (rectified @ found["P2"].T).T
    with Image.open(folder / "image_2" / f"{scene.name}.png") as image:
        width, height = image.size
    return (
        (w > 0.2) & (abs(u / w - (width - 1) / 2) < width / 2) & (abs(v / w - (height - 1) / 2) < height / 2)
    )


def test_a_detector_sees_and_learns_what_the_camera_sees(scenes):
    """Boxes were drawn in the image only: what lies beside or behind is no background."""
    options = OutdoorOptions(voxel=(0.2, 0.2, 0.2))
    for number, scene in enumerate(scenes):
        coord = scene.cloud().coord.astype(float)
        seen = on_picture(scene, coord)
        assert 0.1 < seen.mean() < 0.3
        assert (scene.judged(coord) == seen).mean() > 0.9999  # points on the very edge may fall either way
        item = OutdoorDataset(scenes, options, "lidar", seed=0, rays=False, masks=False)[(0, number)]
        inside = ((coord >= options.low) & (coord < options.high)).all(1)
        wanted = np.unique(np.floor((coord[seen & inside] - options.low) / 0.2).astype(int), axis=0)
        assert abs(len(item.cells) - len(wanted)) <= 0.001 * len(wanted)
        assert item.features[:, 0].min() > 0  # nothing behind the car
        whole = OutdoorDataset(scenes, options, "lidar", seed=0, masks=False)[(0, number)]
        assert len(whole.cells) > 2 * len(item.cells)  # pre-training looks at labels of no kind
        assert len(item.boxes) == len(scene.boxes())


def test_boxes_and_detections_beside_the_image_do_not_count(scenes):
    boxes = make_boxes(
        [[15, 0, -1], [-15, 0, -1], [5, 20, -1]],
        np.ones((3, 3)),
        np.zeros(3),
        [0, 0, 0],
        score=[0.9, 0.8, 0.7],
    )
    scene = OutdoorScene(replace(scenes[0].frame, boxes=boxes), "kitti", classes=CLASSES)
    assert scene.judged_boxes().center.tolist() == [[15, 0, -1]]
    turned = OutdoorDataset(
        [scene], OutdoorOptions(), "lidar", seed=0, rays=False, masks=False, transforms=DETECTION
    )
    for epoch in range(3):
        item = turned[(epoch, 0)]
        assert len(item.boxes) == 1
        found = item.judged(moved_boxes(boxes, item.world))
        assert found.score.tolist() == [0.9]
        assert found.center == pytest.approx(item.boxes.center)


def test_without_an_image_the_usual_size_tells_where_boxes_were_drawn(copied):
    with_image = open_kitti(copied)[0].judged(open_kitti(copied)[0].cloud().coord)
    (copied / "training" / "image_2" / "000001.png").unlink()
    (scene,) = open_kitti(copied)
    assert (scene.judged(scene.cloud().coord) == with_image).mean() > 0.999


def test_splits_and_folders(copied, tmp_path):
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text("000001\n000007\n")
    scenes = open_kitti(tmp_path, "train")
    assert [scene.name for scene in scenes] == ["000001"]
    assert scenes.skipped == {"no file in velodyne": 1}
    assert len(open_kitti(tmp_path / "training")) == 1
    with pytest.raises(UserError, match=r"val\.txt: no such list"):
        open_kitti(tmp_path, "val")
    with pytest.raises(UserError, match="no folder velodyne"):
        open_kitti(tmp_path / "ImageSets")


def test_a_frame_without_labels_or_image_is_still_a_frame(copied):
    (copied / "training" / "label_2" / "000001.txt").unlink()
    (copied / "training" / "image_2" / "000001.png").unlink()
    (scene,) = open_kitti(copied)
    assert scene.boxes() is None
    assert scene.view_names == ()


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("label_2", "Boat 0 0 0 0 0 0 0 1 1 1 1 1 1 0\n", r"000001\.txt:1: class 'Boat' is none of Car"),
        ("label_2", "Car 0 0 0 0 0 0 0 1 1 1\n", r"000001\.txt:1: not the 15 columns"),
        ("calib", "P2: 1 2 3\n", r"000001\.txt:1: P2 is not \(3, 4\) numbers"),
        ("calib", "R0_rect: 1 0 0 0 1 0 0 0 1\n", "no P2, Tr_velo_to_cam"),
    ],
)
def test_damaged_files_are_named(copied, part, text, message):
    (copied / "training" / part / "000001.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        open_kitti(copied)
