"""Streets that tests make up: files of nuScenes' and KITTI's layout, small and exact."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ponderv2.boxes3d import Boxes3D, corners, make_boxes

GROUND = -1.8
FOCAL, SIZE = 60.0, (96, 64)  # pixels; width, height
INTRINSICS = np.array([[FOCAL, 0, 47.5], [0, FOCAL, 31.5], [0, 0, 1]])
# a camera that looks along the LiDAR's +x and one that looks along -x
AHEAD = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0.3], [1, 0, 0, -0.2], [0, 0, 0, 1]])
BACK = np.array([[0.0, 1, 0, 0], [0, 0, -1, 0.3], [-1, 0, 0, -0.2], [0, 0, 0, 1]])
CAMERAS = {"CAM_FRONT": AHEAD, "CAM_BACK": BACK}
CAR, PEDESTRIAN = 0, 7  # nuScenes' numbers


def street_boxes(seed: int) -> Boxes3D:
    """Three cars and a pedestrian on the ground."""
    random = np.random.default_rng(seed)
    center = np.array([[9.0, 1, 0], [-11, -3, 0], [4, -9, 0], [7, 5, 0]]) + random.uniform(-1, 1, (4, 3))
    size = np.array([[4.4, 1.9, 1.6], [4.0, 1.8, 1.5], [4.7, 2.0, 1.7], [0.7, 0.6, 1.8]])
    center[:, 2] = GROUND + size[:, 2] / 2
    yaw = random.uniform(-np.pi, np.pi, 4)
    velocity = np.array([[3.0, 1], [0, 0], [np.nan, np.nan], [0.5, -1]])
    return make_boxes(center, size, yaw, [CAR, CAR, CAR, PEDESTRIAN], velocity=velocity)


def street_points(boxes: Boxes3D, seed: int, count: int = 3000) -> np.ndarray:
    """(N, 5) float32: ground around the car and the sides of boxes; x, y, z, intensity 0..255, ring."""
    random = np.random.default_rng([seed, 1])
    ground = random.uniform(-24, 24, (count, 3))
    ground[:, 2] = GROUND
    sides = []
    for box in corners(boxes):
        along, up = random.uniform(0, 1, (2, 200))
        for first, second in ((0, 2), (2, 6), (6, 4), (4, 0)):  # bottom edges, each with the side above it
            a, b = box[first], box[second]
            side = a + (b - a) * along[:, None]
            side[:, 2] += up * (box[1, 2] - box[0, 2])
            sides.append(side)
    points = np.concatenate([ground, *sides])
    strength = random.integers(0, 256, (len(points), 1))
    return np.concatenate([points, strength, np.zeros((len(points), 1))], 1).astype(np.float32)


def write_nuscenes(
    folder: Path, frames: int = 2, *, form: str = "new", name: str = "nuscenes_infos_train"
) -> Path:
    """A folder with an info pickle, sweeps and images; returns the pickle.

    Args:
        folder: where.
        frames: how many.
        form: `new` of mmdetection3d 1.1, `old` with lengths first, `oldest` with widths first.
        name: of the pickle.
    """
    infos = []
    for number in range(frames):
        boxes = street_boxes(number)
        sweep = folder / "samples" / "LIDAR_TOP" / f"{number:04d}.pcd.bin"
        sweep.parent.mkdir(parents=True, exist_ok=True)
        street_points(boxes, number).tofile(sweep)
        for camera in CAMERAS:
            image = folder / "samples" / camera / f"{number:04d}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(street_image(number)).save(image)
        infos.append(_info(number, boxes) if form == "new" else _old_info(number, boxes, form))
    content: Any = {"infos": infos, "metadata": {"version": "v1.0-mini"}}
    if form == "new":
        content = {"metainfo": {"categories": {"car": CAR, **_OTHERS}}, "data_list": infos}
    path = folder / f"{name}.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def street_image(seed: int) -> np.ndarray:
    """(64, 96, 3) uint8: red grows to the right, green downwards."""
    width, height = SIZE
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) * 2
    image[..., 1] = np.arange(height)[:, None] * 3
    image[..., 2] = 20 * seed
    return image


_NAMES = (
    "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian", "traffic_cone",
    "barrier",
)  # fmt: skip
_OTHERS = {name: number for number, name in enumerate(_NAMES, 1)}


def _info(number: int, boxes: Boxes3D) -> dict[str, Any]:
    rows = np.concatenate([boxes.center, boxes.size, boxes.yaw[:, None]], 1)
    return {
        "token": f"frame{number}",
        "lidar_points": {"lidar_path": f"{number:04d}.pcd.bin", "num_pts_feats": 5},
        "images": {
            name: {
                "img_path": f"{number:04d}.png", "cam2img": INTRINSICS.tolist(), "lidar2cam": pose.tolist(),
            }
            for name, pose in CAMERAS.items()
        },
        "instances": [
            {"bbox_3d": row.tolist(), "bbox_label_3d": int(label), "bbox_3d_isvalid": True,
             "velocity": speed.tolist(), "num_lidar_pts": 7}
            for row, label, speed in zip(rows, boxes.label, boxes.velocity, strict=True)
        ],
    }  # fmt: skip


def _old_info(number: int, boxes: Boxes3D, form: str) -> dict[str, Any]:
    size, yaw = boxes.size, boxes.yaw
    if form == "oldest":
        size, yaw = size[:, [1, 0, 2]], -yaw - np.pi / 2
    cameras = {}
    for name, pose in CAMERAS.items():
        to_lidar = np.linalg.inv(pose)
        cameras[name] = {
            "data_path": f"./data/nuscenes/samples/{name}/{number:04d}.png",
            "cam_intrinsic": INTRINSICS,
            "sensor2lidar_rotation": to_lidar[:3, :3],
            "sensor2lidar_translation": to_lidar[:3, 3],
        }
    return {
        "token": f"frame{number}",
        "lidar_path": f"./data/nuscenes/samples/LIDAR_TOP/{number:04d}.pcd.bin",
        "cams": cameras,
        "gt_boxes": np.concatenate([boxes.center, size, yaw[:, None]], 1),
        "gt_names": np.array(["car" if label == CAR else "pedestrian" for label in boxes.label]),
        "gt_velocity": boxes.velocity.astype(np.float32),
        "num_lidar_pts": np.full(len(boxes), 7),
        "valid_flag": np.array([True, True, True, False]),
    }
