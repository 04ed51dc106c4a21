"""Folders of posed RGB-D frames: 7-Scenes, TUM, and one's own (ours).

    7scenes:PATH   frame-000000.{color.jpg|color.png, depth.png, pose.txt}, [camera-intrinsics.txt]; or
                   folders of such frames (seq-01, ...), [TrainSplit.txt, TestSplit.txt]; depth in mm
    tum:PATH       rgb.txt, depth.txt, groundtruth.txt and the images they name, [camera-intrinsics.txt];
                   or folders of these; depth in 1/5000 m
    rgbd:PATH      color/NAME.jpg|png, depth/NAME.png|npy, pose/NAME.txt (4 x 4 camera-to-world),
                   intrinsics.txt, [label/NAME.png, classes.txt], [cloud.ply|npz|pcd], [depth_scale.txt],
                   [up.txt]; or folders of these, or PATH/SPLIT/ of folders; depth in mm; labels from 0,
                   255 (of 8 bits) or 65535 ignored

Nothing is ever written there. A frame without a sound pose is left out, named and counted; so is one whose
depth or colour cannot be used, when it is read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import pose_fault
from ponderv2.depth_units import MILLIMETRES
from ponderv2.frame_files import read_intrinsics, read_matrix, read_pose
from ponderv2.read_options import AXES, ReadOptions
from ponderv2.rgbd_scenes import FrameFiles, RgbdScene
from ponderv2.scenes import IGNORED, UP, Array, BadFrame, SceneList

SEVEN_SCENES = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
"""intrinsics of 7-Scenes' depth camera, 640 x 480"""
TUM_SCALE = 5000.0
"""units a metre in TUM's depth images"""
TUM_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
"""fx, fy, cx, cy of TUM's colour cameras, to which its depth is registered (their page on intrinsics)"""
TUM_DEFAULT = (525.0, 525.0, 319.5, 239.5)
"""what TUM advises where the camera is not known"""
TUM_APART = 0.02
"""seconds between the times of colour, depth and pose of a frame, at most"""

_COLORS = (".jpg", ".jpeg", ".png")


class Folder:
    """Scenes of a folder as they are found: what they share, and what was left out."""

    def __init__(self, dataset: str, options: ReadOptions) -> None:
        self.dataset, self.options = dataset, options
        self.skipped: Counter[str] = Counter()
        self.remarks: list[str] = []

    def leave_out(self, fault: BadFrame) -> None:
        """Count a frame, and note its file."""
        self.skipped[fault.reason] += 1
        self.remarks.append(str(fault))

    def scene(self, name: str, frames: Sequence[FrameFiles], where: Path, **given: Any) -> RgbdScene:
        """A scene of some frames; `given` is as for `RgbdScene`.

        Raises:
            UserError: no frame is left; the text has the reasons.
        """
        frames = frames[:: self.options.frame_step]
        if not frames:
            why = ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common())
            raise UserError(f"{where}: no frame is left" + (f" ({why})" if why else ""))
        if self.options.up is not None:
            given["up"] = AXES[self.options.up]
        scale = self.options.depth_scale
        given["depth_scale"] = scale or given.get("depth_scale", MILLIMETRES)
        return RgbdScene(
            name, self.dataset, lambda: frames, said=scale is not None, skipped=self.skipped,
            remarks=self.remarks, spacing=given.pop("spacing", self.options.spacing), **given,
        )  # fmt: skip

    def list(self, scenes: Sequence[RgbdScene], classes: tuple[str, ...] | None = None) -> SceneList:
        """The scenes, the first one's unit checked."""
        scenes[0].check_unit()
        names = {self.dataset: classes} if classes else {}
        return SceneList(scenes, class_names=names, skipped=self.skipped, remarks=self.remarks)


def open_seven_scenes(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """A 7-Scenes folder, or a folder of its sequences.

    Args:
        path: the folder.
        split: `train` or `test` by TrainSplit.txt or TestSplit.txt; or the name of a sequence; None takes
            all.
        options: how to read.

    Raises:
        UserError: no frames there.
    """
    folder = Folder("7scenes", options)
    places = [path] if _frames_in(path) else [place for place in _folders(path) if _frames_in(place)]
    if not places:
        raise UserError(f"{path}: no frame-*.pose.txt here, nor in a folder below")
    if split is not None:
        places = _chosen(path, places, split)
    scenes = []
    for place in places:
        given = next((file for at in (place, path) if (file := at / "camera-intrinsics.txt").exists()), None)
        camera = SEVEN_SCENES if given is None else read_intrinsics(given)
        frames = []
        for pose_file in _frames_in(place):
            stem = pose_file.name.removesuffix(".pose.txt")
            try:
                color = _existing(place, [f"{stem}.color{ending}" for ending in _COLORS], "colour")
                depth = _existing(place, [f"{stem}.depth.png"], "depth")
                frames.append(FrameFiles(stem, color, depth, read_pose(pose_file), camera))
            except BadFrame as fault:
                folder.leave_out(fault)
        # the world of KinectFusion is that of a camera, which somebody held more or less upright
        scenes.append(folder.scene(place.name, frames, place, up=None))
    return folder.list(scenes)


def open_tum(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """A TUM RGB-D sequence, or a folder of sequences.

    Args:
        path: the folder.
        split: the name of one sequence; None takes all.
        options: how to read.

    Raises:
        UserError: no sequence there, or a list of it is broken.
    """
    folder = Folder("tum", options)
    places = [path] if (path / "groundtruth.txt").exists() else _folders(path)
    places = [place for place in places if (place / "groundtruth.txt").exists()]
    if split is not None:
        places = [place for place in places if place.name == split]
    if not places:
        raise UserError(f"{path}: no folder with groundtruth.txt, rgb.txt and depth.txt" + _named(split))
    scenes = []
    for place in places:
        frames = list(_tum_frames(place, folder))
        scenes.append(folder.scene(place.name, frames, place, depth_scale=TUM_SCALE))
    return folder.list(scenes)


def open_rgbd(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """One's own folder of frames, or a folder of such folders.

    Args:
        path: the folder.
        split: a folder below with scenes, or the name of one scene; None takes all.
        options: how to read.

    Raises:
        UserError: no frames there, or a file of a scene is broken.
    """
    folder = Folder("rgbd", options)
    base = path / split if split is not None and (path / split).is_dir() else path
    places = [base] if (base / "pose").is_dir() else [p for p in _folders(base) if (p / "pose").is_dir()]
    if split is not None and base == path:
        places = [place for place in places if place.name == split]
    if not places:
        raise UserError(f"{path}: no folders color/, depth/ and pose/ here or one below" + _named(split))
    class_file = next((f for at in (places[0], base, path) if (f := at / "classes.txt").exists()), None)
    classes = None if class_file is None else read_names(class_file)
    scenes = []
    for place in places:
        given: dict[str, Any] = {"up": UP}
        if (file := place / "up.txt").exists():
            given["up"] = _up(file)
        if (file := place / "depth_scale.txt").exists():
            given["depth_scale"] = float(read_matrix(file, shapes=[(1, 1)])[0, 0])
        given["cloud_file"] = next(
            (f for e in ("ply", "npz", "pcd") if (f := place / f"cloud.{e}").exists()), None
        )
        frames = list(_own_frames(place, folder))
        scenes.append(
            folder.scene(
                place.name, frames, place, classes=classes, decode=own_labels if classes else None, **given
            )
        )
    return folder.list(scenes, classes)


def own_labels(raw: Array) -> tuple[NDArray[np.int64], None]:
    """Class numbers of a label image of one's own: the largest value of 8 or 16 bits is ignored."""
    nothing = 255 if raw.dtype.itemsize == 1 else 65535
    return np.where(raw == nothing, IGNORED, raw.astype(np.int64)), None


def read_names(path: Path) -> tuple[str, ...]:
    """Names of a text file, one a line, in order.

    Raises:
        UserError: it cannot be read, is empty, or has a name twice.
    """
    try:
        names = tuple(
            name for line in path.read_text(encoding="utf-8").splitlines() if (name := line.strip())
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not names or len(set(names)) < len(names):
        raise UserError(f"{path}: " + ("has no names" if not names else "has a name twice"))
    return names


def _own_frames(place: Path, folder: Folder) -> Iterator[FrameFiles]:
    common = place / "intrinsics.txt"
    camera = read_intrinsics(common) if common.exists() else None
    if camera is None and not (place / "intrinsics").is_dir():
        raise UserError(f"{common}: no such file; it holds fx 0 cx, 0 fy cy, 0 0 1")
    for pose_file in sorted((place / "pose").glob("*.txt")):
        name = pose_file.stem
        try:
            yield FrameFiles(
                name,
                _existing(place / "color", [name + ending for ending in _COLORS], "colour"),
                _existing(place / "depth", [f"{name}.png", f"{name}.npy", f"{name}.tiff"], "depth"),
                read_pose(pose_file),
                camera if camera is not None else read_intrinsics(place / "intrinsics" / f"{name}.txt"),
                label if (label := place / "label" / f"{name}.png").exists() else None,
            )
        except BadFrame as fault:
            folder.leave_out(fault)


def _tum_frames(place: Path, folder: Folder) -> Iterator[FrameFiles]:
    given = place / "camera-intrinsics.txt"
    known = next((values for name, values in TUM_CAMERAS.items() if name in place.name), TUM_DEFAULT)
    fx, fy, cx, cy = known
    camera = read_intrinsics(given) if given.exists() else np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    colors, depths = _stamped(place / "rgb.txt", 1), _stamped(place / "depth.txt", 1)
    poses = _stamped(place / "groundtruth.txt", 7)
    times = {
        name: np.array([time for time, _ in rows]) for name, rows in (("colour", colors), ("pose", poses))
    }
    for time, (depth,) in depths:
        near = {name: int(np.abs(stamps - time).argmin()) for name, stamps in times.items()}
        late = [name for name, at in near.items() if abs(times[name][at] - time) > TUM_APART]
        where = f"{place / 'depth.txt'}: {depth}"
        try:
            if late:
                raise BadFrame(f"no {late[0]} at its time", where, f"no {late[0]} within {TUM_APART} s")
            pose = _pose_of_quaternion(poses[near["pose"]][1], where)
            color = place / colors[near["colour"]][1][0]
            yield FrameFiles(f"{time:.6f}", color, place / depth, pose, camera)
        except BadFrame as fault:
            folder.leave_out(fault)


def _stamped(path: Path, columns: int) -> list[tuple[float, list[str]]]:
    """Rows of a time and some words, sorted by time; # begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            rows.append((float(words[0]), words[1:]))
        except ValueError:
            raise UserError(f"{path}:{number}: does not begin with a time: {line.strip()[:40]}") from None
        if len(words) != columns + 1:
            raise UserError(f"{path}:{number}: {len(words)} words in place of {columns + 1}")
    if not rows:
        raise UserError(f"{path}: lists nothing")
    return sorted(rows, key=lambda row: row[0])


def _pose_of_quaternion(words: Sequence[str], where: str) -> NDArray[np.float64]:
    """Camera-to-world of tx ty tz qx qy qz qw."""
    from scipy.spatial.transform import Rotation

    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        raise BadFrame("pose unreadable", where, "its pose is no seven numbers") from None
    length = np.linalg.norm(numbers[3:])
    if not np.isfinite(numbers).all():
        raise BadFrame("pose not finite", where)
    if not 0.9 < length < 1.1:
        raise BadFrame("pose not rigid", where, f"its quaternion has length {length:.3g}")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_quat(numbers[3:] / length).as_matrix(), numbers[:3]
    if fault := pose_fault(pose):
        raise BadFrame(fault, where)
    return pose


def _frames_in(place: Path) -> list[Path]:
    return sorted(place.glob("frame-*.pose.txt"))


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    return sorted(place for place in path.iterdir() if place.is_dir() and not place.name.startswith("."))


def _chosen(path: Path, places: Sequence[Path], split: str) -> list[Path]:
    """The sequences of a split: lines such as `sequence1` stand for seq-01."""
    file = path / f"{split.capitalize()}Split.txt"
    if file.exists():
        numbers = {int("".join(filter(str.isdigit, name))) for name in read_names(file)}
        chosen = [place for place in places if place.name in {f"seq-{number:02d}" for number in numbers}]
    else:
        chosen = [place for place in places if place.name == split]
    if not chosen:
        raise UserError(
            f"{path}: no sequence of the split {split}; there are {', '.join(p.name for p in places)}"
        )
    return chosen


def _existing(place: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (file := place / name).exists():
            return file
    raise BadFrame(f"no {what} file", str(place / names[0]), "no such file")


def _up(file: Path) -> tuple[float, float, float] | None:
    word = file.read_text(encoding="utf-8").strip()
    if word not in AXES:
        raise UserError(f"{file}: {word[:20]!r} is no axis; write one of {', '.join(AXES)}")
    return AXES[word]


def _named(split: str | None) -> str:
    return "" if split is None else f" named {split}"
