"""KITTI object frames: image of the left colour camera, Velodyne sweep, calibration, labels.

    PATH/                                  or PATH/training, PATH/testing
      velodyne/000000.bin                  float32 x, y, z, reflectance (0..1)
      image_2/000000.png  calib/000000.txt  label_2/000000.txt
    PATH/ImageSets/train.txt               names of a split, one a line

Labels lie in the rectified frame of camera 0: the middle of the bottom, height, width, length, and an angle
about the axis that points down. Here they become boxes of the LiDAR's frame. P2 of the calibration is not
the intrinsics alone: its last column moves camera 0 to camera 2.

Boxes were drawn in the image of camera 2 only, a part of what the Velodyne sees: see `OutdoorScene.judged`.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.boxes3d import Boxes3D, make_boxes
from ponderv2.outdoor_frames import Camera, DrawnIn, Frame, OutdoorScene, check_camera
from ponderv2.scenes import SceneList

DATASET = "kitti"
CLASSES = ("Car", "Pedestrian", "Cyclist", "Van", "Truck", "Person_sitting", "Tram", "Misc")
CAMERA = "image_2"
USUAL_SIZE = (1242, 375)  # pixels of most of its images, for frames whose image is not there
NEEDED = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}


def open_kitti(path: Path, split: str | None = None) -> SceneList:
    """The frames of a KITTI folder.

    Args:
        path: the folder of `training`, or one like it.
        split: a list in `ImageSets`; `training` or `testing`: all of that folder; None: all of `training`.

    Returns:
        Scenes with `boxes()`, None in frames without a label file; DontCare regions are left out, as they
        have no place in space. `skipped` counts frames without calibration or without a sweep.

    Raises:
        UserError: no such folder or list, or no frame in it; a calibration or label that cannot be read.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    part = "testing" if split in ("test", "testing") else "training"
    root = path / part if (path / part).is_dir() else path
    if not (root / "velodyne").is_dir():
        raise UserError(f"{root}: no folder velodyne in it, so it is not KITTI's object data")
    names = _names(path, root, split)
    skipped: Counter[str] = Counter()
    scenes = []
    for name in names:
        missing = [part for part in ("velodyne", "calib") if not _file(root, part, name).is_file()]
        if missing:
            skipped[f"no file in {missing[0]}"] += 1
            continue
        scenes.append(OutdoorScene(_frame(root, name), DATASET, classes=CLASSES, skipped=skipped))
    if not scenes:
        raise UserError(f"{root}: none of {len(names)} frames has a sweep and a calibration")
    return SceneList(scenes, class_names={DATASET: CLASSES}, skipped=skipped)


def read_calibration(path: Path) -> dict[str, NDArray[np.float64]]:
    """`P2` (3, 4), `R0_rect` (3, 3) and `Tr_velo_to_cam` (3, 4) of a calibration file.

    Raises:
        UserError: one of them is missing or is not so many numbers.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        key, _, values = line.partition(":")
        if key in NEEDED:
            try:
                found[key] = np.array(values.split(), np.float64).reshape(NEEDED[key])
            except ValueError:
                raise UserError(f"{path}:{number}: {key} is not {NEEDED[key]} numbers") from None
    if missing := NEEDED.keys() - found.keys():
        raise UserError(f"{path}: no {', '.join(sorted(missing))}")
    return found


def _names(path: Path, root: Path, split: str | None) -> list[str]:
    if split in (None, "training", "testing"):
        return sorted(file.stem for file in (root / "velodyne").glob("*.bin"))
    listed = path / "ImageSets" / f"{split}.txt"
    if not listed.is_file():
        raise UserError(f"{listed}: no such list of frames; leave the split out for all of {root}")
    return listed.read_text().split()


def _file(root: Path, folder: str, name: str) -> Path:
    endings = {"velodyne": "bin", CAMERA: "png", "calib": "txt", "label_2": "txt"}
    return root / folder / f"{Path(name).name}.{endings[folder]}"


def _frame(root: Path, name: str) -> Frame:
    calibration = _file(root, "calib", name)
    read = read_calibration(calibration)
    to_rectified = np.eye(4)
    to_rectified[:3] = read["R0_rect"] @ read["Tr_velo_to_cam"]
    image, label = _file(root, CAMERA, name), _file(root, "label_2", name)
    intrinsics = read["P2"][:, :3]
    to_camera = to_rectified.copy()
    to_camera[:3, 3] += np.linalg.solve(intrinsics, read["P2"][:, 3])
    intrinsics, to_camera = check_camera(str(calibration), intrinsics, to_camera)
    camera = Camera(CAMERA, image, intrinsics, to_camera)
    cameras = (camera,) if image.is_file() else ()
    boxes = _boxes(label, np.linalg.inv(to_rectified)) if label.is_file() else None
    drawn_in = DrawnIn(camera, USUAL_SIZE)
    return Frame(name, _file(root, "velodyne", name), 4, 1.0, cameras, boxes, name, drawn_in)


def _boxes(path: Path, to_lidar: NDArray[Any]) -> Boxes3D:
    centers, sizes, yaws, labels = [], [], [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not (words := line.split()) or words[0] == "DontCare":
            continue
        if words[0] not in CLASSES:
            raise UserError(f"{path}:{number}: class {words[0]!r} is none of {', '.join(CLASSES)}")
        try:
            height, width, length, x, y, z, angle = map(float, words[8:15])
        except ValueError:
            raise UserError(f"{path}:{number}: not the 15 columns of a KITTI label") from None
        centers.append(to_lidar[:3, :3] @ [x, y - height / 2, z] + to_lidar[:3, 3])
        ahead = to_lidar[:3, :3] @ [np.cos(angle), 0, -np.sin(angle)]
        yaws.append(np.arctan2(ahead[1], ahead[0]))
        sizes.append((length, width, height))
        labels.append(CLASSES.index(words[0]))
    try:
        return make_boxes(np.array(centers).reshape(-1, 3), np.array(sizes).reshape(-1, 3), yaws, labels)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
