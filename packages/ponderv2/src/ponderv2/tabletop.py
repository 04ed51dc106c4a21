"""The tabletop frames of OSD as colour, depth and label images: one view a scene, three classes (ours).

    PATH/{learn,test}/{color/NAME.jpg|png, depth/NAME.png, label/NAME.png}    PATH/camera-intrinsics.txt

Labels: 0 unknown, 1..9 the table, then ten numbers an object. Which objects are boxes and which are cylinders
is known by the number in a file's name. No pose is given: the world of a scene stands on its table.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import turn_up
from ponderv2.depth_units import MILLIMETRES
from ponderv2.frame_files import read_depth, read_intrinsics
from ponderv2.read_options import ReadOptions
from ponderv2.rgbd_scenes import Decode, FrameFiles, RgbdScene
from ponderv2.scenes import IGNORED, Array, BadFrame, SceneList

CLASSES = ("table", "box", "cylinder")
DATASET = "tabletop"
BOXES = {"learn": range(0, 25), "test": range(0, 24)}
CYLINDERS = {"learn": range(33, 45), "test": range(31, 43)}
"""numbers of the files whose objects are all of one kind; the others mix them and have no labels here"""
UNLABELLED = (
    "frames with mixed objects have none: name the split learn-labelled or test-labelled (packed data: in "
    "`prepare`)"
)
"""of scenes without labels: why, and what to do"""

_TRIES = 200  # planes tried
_THICK = 0.015  # metres: points this near a plane are on it
_SEEN = 2000  # points looked at


def open_tabletop(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """The frames of one half, or of both.

    Args:
        path: the folder.
        split: `learn`, `test`; `learn-labelled` or `test-labelled` for frames with classes only; None takes
            all.
        options: how to read.

    Raises:
        UserError: no frames there.
    """
    half, _, labelled = (split or "").partition("-")
    halves = [half] if half else ["learn", "test"]
    if not set(halves) <= set(BOXES) or labelled not in ("", "labelled"):
        raise UserError(f"{path}: no split {split}; there are learn, test, learn-labelled and test-labelled")
    camera = read_intrinsics(path / "camera-intrinsics.txt")
    skipped: Counter[str] = Counter()
    remarks: list[str] = []
    scale = options.depth_scale
    scenes = []
    for one in halves:
        for file in sorted((path / one / "depth").glob("*.png"), key=lambda found: file_number(found.stem)):
            kind = object_class(one, file.stem)
            if labelled and kind is None:
                continue
            label = path / one / "label" / file.name
            color = path / one / "color" / f"{file.stem}.jpg"
            frame = FrameFiles(
                file.stem, color if color.exists() else color.with_suffix(".png"), file, np.eye(4), camera,
                label if kind is not None and label.exists() else None,
            )  # fmt: skip
            scenes.append(
                TabletopScene(
                    frame, kind, depth_scale=scale or MILLIMETRES, said=scale is not None,
                    skipped=skipped, remarks=remarks,
                )
            )  # fmt: skip
    if not scenes:
        raise UserError(f"{path}: no frame in {' or '.join(f'{one}/depth' for one in halves)}")
    scenes[0].check_unit()
    return SceneList(scenes, class_names={DATASET: CLASSES}, skipped=skipped, remarks=remarks)


class TabletopScene(RgbdScene):
    """One frame; its pose is found from its depth when it is first needed."""

    def __init__(
        self, frame: FrameFiles, kind: int | None, *, depth_scale: float, said: bool,
        skipped: "Counter[str]", remarks: list[str],
    ) -> None:  # fmt: skip
        super().__init__(
            frame.name, DATASET, self._stand, depth_scale=depth_scale, said=said, classes=CLASSES,
            decode=None if kind is None else table_labels(kind), step=2, spacing=0.004,
            skipped=skipped, remarks=remarks,
        )  # fmt: skip
        self._frame = frame

    def _stand(self) -> list[FrameFiles]:
        frame = self._frame
        try:
            depth = read_depth(frame.depth, self.depth_scale)
        except BadFrame as fault:
            self.leave_out(fault)
            return []
        pose = table_pose(depth, frame.intrinsics)
        return [FrameFiles(frame.name, frame.color, frame.depth, pose, frame.intrinsics, frame.label)]


def table_labels(kind: int) -> Decode:
    """How to read the label image of a frame whose objects are all of class `kind`."""

    def decode(raw: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        raw = raw.astype(np.int64)
        objects = np.where(raw >= 10, raw // 10 - 1, IGNORED)
        return np.select([raw == 0, raw < 10], [IGNORED, 0], kind), objects

    return decode


def object_class(half: str, name: str) -> int | None:
    """The class of the objects of a frame, 1 or 2; None where they are mixed."""
    number = file_number(name)
    if number in BOXES[half]:
        return 1
    return 2 if number in CYLINDERS[half] else None


def file_number(name: str) -> int:
    """The number in a file's name; -1 if there is none."""
    found = re.search(r"\d+", name)
    return -1 if found is None else int(found.group())


def table_pose(depth: NDArray[np.float32], intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) camera-to-world of a camera that looks at a table: z up, the table's plane at z = 0.

    The plane with the most points near it among 200 through three random points (RANSAC, Fischler and Bolles
    1981), fitted to those; the same each time. No label is used.

    Args:
        depth: (H, W) metres.
        intrinsics: (3, 3).
    """
    random = np.random.default_rng(0)
    v, u = np.nonzero(depth)
    chosen = random.choice(len(v), min(len(v), _SEEN), replace=False)
    v, u = v[chosen], u[chosen]
    points = np.linalg.solve(intrinsics, np.stack([u, v, np.ones(len(u))])).T * depth[v, u, None]
    corners = points[random.integers(len(points), size=(_TRIES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(length, 1e-12)
    offsets = (normals * corners[:, 0]).sum(1)
    near = np.abs(normals @ points.T - offsets[:, None]) < _THICK
    near[length[:, 0] < 1e-9] = False  # three points on a line span no plane
    on = points[near[near.sum(1).argmax()]]
    if len(on) < 3:  # too few points for a plane: the image's own "up"
        normal, middle = np.array([0.0, -1.0, 0.0]), points.mean(0)
    else:
        middle = on.mean(0)
        normal = np.linalg.svd(on - middle, full_matrices=False)[2][2]
        normal = normal if normal @ middle < 0 else -normal  # towards the camera, which sits above
    pose = np.eye(4)
    pose[:3, :3] = turn_up(normal)
    pose[:3, 3] = -(pose[:3, :3] @ middle)
    return pose
