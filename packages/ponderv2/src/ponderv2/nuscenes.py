"""nuScenes frames as info pickles list them: those of mmdetection3d 1.1 and later, and the older ones.

    PATH/                                  or PATH itself is one of the pickles
      nuscenes_infos_train.pkl  nuscenes_infos_val.pkl
      samples/LIDAR_TOP/*.pcd.bin          float32 x, y, z, intensity (0..255), ring
      samples/CAM_*/*.jpg

Files are also found beside the pickle, as in the demonstration data of mmdetection3d. Pickles are read
without running what they name. In the older form boxes were width, length, height with the angle -yaw - pi/2
before mmdetection3d 1.0, and length, width, height with yaw since; no info says which, so lengths of cars do.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.array_pickle import load_arrays
from ponderv2.boxes3d import Boxes3D, make_boxes
from ponderv2.outdoor_frames import Camera, Frame, OutdoorScene, check_camera
from ponderv2.scenes import SceneList

DATASET = "nuscenes"
CLASSES = ("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian",
           "traffic_cone", "barrier")  # fmt: skip
LONG = ("car", "truck", "bus", "trailer")  # what is longer than wide
CHANNELS = 5
FULL_INTENSITY = 255.0
FOLDERS = ("samples", "sweeps")  # folders below the root that paths of infos lead into


def open_nuscenes(path: Path, split: str | None = None) -> SceneList:
    """The frames of an info pickle.

    Args:
        path: a pickle, or a folder with one or several.
        split: a word of the pickle's name, such as `train`; None: there is only one.

    Returns:
        Scenes with `boxes()`; `skipped` counts frames without a LiDAR file.

    Raises:
        UserError: no pickle, several, a content that is not infos, or no frame with its files.
    """
    pickle = _find_pickle(path, split)
    infos, categories = _infos(pickle)
    root = pickle.parent
    skipped: Counter[str] = Counter()
    longest_first = _longest_first(infos)
    scenes = []
    for number, info in enumerate(infos):
        where = f"{pickle}: info {number}"
        try:
            frame = (
                _frame(info, root, where, number, len(categories))
                if "lidar_points" in info
                else _old_frame(info, root, where, number, longest_first)
            )
        except KeyError as error:
            raise UserError(f"{where} has no {error}") from error
        if frame is None:
            skipped["no LiDAR file"] += 1
        else:
            scenes.append(OutdoorScene(frame, DATASET, classes=categories, skipped=skipped))
    if not scenes:
        raise UserError(f"{pickle}: none of the {len(infos)} LiDAR files it names is below {root}")
    return SceneList(scenes, class_names={DATASET: categories}, skipped=skipped)


def _find_pickle(path: Path, split: str | None) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    found = sorted(path.glob("*.pkl"))
    chosen = [one for one in found if split is None or split in one.stem.split("_")]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(one.name for one in found) or "none"
    wanted = "info pickle" if split is None else f"info pickle of the split {split}"
    raise UserError(f"{path}: {len(chosen)} files are the {wanted}; there are: {names}")


def _infos(pickle: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    content = load_arrays(pickle)
    if isinstance(content, Mapping) and isinstance(content.get("data_list"), list):
        numbers = content.get("metainfo", {}).get("categories") or {name: i for i, name in enumerate(CLASSES)}
        names = tuple(sorted(numbers, key=lambda name: int(numbers[name])))
        if sorted(int(number) for number in numbers.values()) != list(range(len(names))):
            raise UserError(f"{pickle}: its categories are not numbered 0, 1, 2 and so on: {dict(numbers)}")
        infos = content["data_list"]
    elif isinstance(content, Mapping) and isinstance(content.get("infos"), list):
        names, infos = CLASSES, content["infos"]
    else:
        raise UserError(f"{pickle}: neither data_list nor infos is in it, so it is not nuScenes infos")
    if not infos:
        raise UserError(f"{pickle}: it lists no frames")
    return infos, names


def _frame(info: dict[str, Any], root: Path, where: str, number: int, classes: int) -> Frame | None:
    lidar = _locate(root, info["lidar_points"]["lidar_path"], "LIDAR_TOP", where)
    if lidar is None:
        return None
    channels = int(info["lidar_points"].get("num_pts_feats", CHANNELS))
    cameras = []
    for name, camera in info.get("images", {}).items():
        if "lidar2cam" not in camera:  # lists of test splits have images of other moments
            continue
        image = _locate(root, camera["img_path"], name, where)
        if image is not None:
            k, motion = check_camera(f"{where}, {name}", camera["cam2img"], camera["lidar2cam"])
            cameras.append(Camera(name, image, k, motion))
    boxes = _boxes(info["instances"], classes, where) if "instances" in info else None
    token = str(info.get("token", ""))
    return Frame(token or f"{number:06d}", lidar, channels, FULL_INTENSITY, tuple(cameras), boxes, token)


def _boxes(instances: list[dict[str, Any]], classes: int, where: str) -> Boxes3D:
    kept = [one for one in instances if one.get("bbox_3d_isvalid", True)]
    rows = np.array([one["bbox_3d"][:7] for one in kept], np.float64).reshape(-1, 7)
    labels = np.array([int(one["bbox_label_3d"]) for one in kept], np.int64)
    if len(labels) and (labels.min() < -1 or labels.max() >= classes):
        raise UserError(f"{where}: classes {labels.min()} to {labels.max()}, but there are {classes}")
    velocity = [one.get("velocity") or (np.nan, np.nan) for one in kept]
    points = [int(one.get("num_lidar_pts", -1)) for one in kept]
    return _checked(where, rows[:, :3], rows[:, 3:6], rows[:, 6], labels, velocity, points)


def _old_frame(
    info: dict[str, Any], root: Path, where: str, number: int, longest_first: bool
) -> Frame | None:
    lidar = _locate(root, info["lidar_path"], "LIDAR_TOP", where)
    if lidar is None:
        return None
    cameras = []
    for name, camera in info.get("cams", {}).items():
        image = _locate(root, camera["data_path"], name, where)
        if image is None:
            continue
        to_lidar = np.eye(4)
        to_lidar[:3, :3] = camera["sensor2lidar_rotation"]
        to_lidar[:3, 3] = camera["sensor2lidar_translation"]
        k, motion = check_camera(f"{where}, {name}", camera["cam_intrinsic"], np.linalg.inv(to_lidar))
        cameras.append(Camera(name, image, k, motion))
    token = str(info.get("token", ""))
    boxes = _old_boxes(info, where, longest_first) if "gt_boxes" in info else None
    return Frame(token or f"{number:06d}", lidar, CHANNELS, FULL_INTENSITY, tuple(cameras), boxes, token)


def _old_boxes(info: dict[str, Any], where: str, longest_first: bool) -> Boxes3D:
    rows = np.asarray(info["gt_boxes"], np.float64).reshape(-1, 7)
    numbers = {name: number for number, name in enumerate(CLASSES)}
    labels = np.array([numbers.get(str(name), -1) for name in info["gt_names"]], np.int64)
    valid = np.asarray(info.get("valid_flag", np.ones(len(rows), bool)), bool)
    size, yaw = rows[:, 3:6], rows[:, 6]
    if not longest_first:
        size, yaw = size[:, [1, 0, 2]], -yaw - np.pi / 2
    velocity = np.asarray(info.get("gt_velocity", np.full((len(rows), 2), np.nan)), np.float64)
    points = np.asarray(info.get("num_lidar_pts", np.full(len(rows), -1)), np.int64)
    return _checked(where, rows[:, :3], size, yaw, labels, velocity, points)[valid]


def _longest_first(infos: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the fourth number of older boxes is the length: over all cars and the like it is the larger."""
    excess = 0.0
    for info in infos:
        if len(names := np.asarray(info.get("gt_names", ()))):
            rows = np.asarray(info["gt_boxes"], np.float64)[np.isin(names, LONG)]
            excess += float((rows[:, 3] - rows[:, 4]).sum())
    return excess >= 0


def _checked(
    where: str, center: NDArray[Any], size: NDArray[Any], yaw: NDArray[Any], labels: NDArray[Any],
    velocity: Any, points: Any,
) -> Boxes3D:  # fmt: skip
    try:
        return make_boxes(center, size, yaw, labels, velocity=velocity, points=points)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _locate(root: Path, named: Any, sensor: str, where: str) -> Path | None:
    """The file that an info names, below the root; None where there is none."""
    parts = [part for part in str(named).replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise UserError(f"{where}: {named!r} is no path below the data")
    inner = next((i for i, part in enumerate(parts) if part in FOLDERS), len(parts) - 1)
    for place in (root.joinpath(*parts[inner:]), root / "samples" / sensor / parts[-1], root / parts[-1]):
        if place.is_file():
            return place
    return None
