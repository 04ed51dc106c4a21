"""Scenes of colour and depth images with poses, whatever their folder looks like (ours).

Depth is checked here: values that mean "nothing seen" become 0, an image without any depth is a bad frame,
and a scene whose depth cannot be metres is refused with the unit that would make a room of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import pose_fault
from ponderv2.leveling import level_up, upright_of_cameras
from ponderv2.point_files import read_cloud
from ponderv2.scenes import IGNORED, UP, Array, BadFrame, ChosenViews, PointCloud, Scene, View, check_indices
from ponderv2.view_fusion import fuse_views

# Shapes: H x W pixels.

MILLIMETRES = 1000.0
"""units of a depth image a metre, unless a data set says something else"""
PLAUSIBLE = (0.3, 8.0)
"""metres: the median depth of a room's views lies between"""
SAID = (0.02, 80.0)
"""metres: the same, where the user named the unit"""

_UNITS = {
    1.0: "metres",
    100.0: "centimetres",
    1000.0: "millimetres",
    4000.0: "1/4000 m, as in S3DIS",
    5000.0: "1/5000 m, as in TUM",
    10_000.0: "1/10000 m",
}
_TYPICAL = 2.0  # metres, a usual median of rooms
_LOOKED_AT = 5  # views that a scene's unit and level are judged by
_NOTHING = 65535  # in 16-bit images of Kinects and of S3DIS
_ASPECT = 0.02  # by how much the shapes of colour and depth may differ

Decode = Callable[[Array], tuple[NDArray[np.int64], NDArray[np.int64] | None]]
"""From a label image to class numbers and, if it has them, object numbers, (H, W) each, -1 ignored"""


@dataclass(frozen=True)
class FrameFiles:
    """Where one view lies.

    Attributes:
        name: unique in its scene.
        color: file.
        depth: file of 16-bit or float pixels, or `.npy`.
        camera_to_world: (4, 4) float64, sound.
        intrinsics: (3, 3) float64, of the depth image.
        label: file, or None.
    """

    name: str
    color: Path
    depth: Path
    camera_to_world: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    label: Path | None = None


class RgbdScene(Scene):
    """A scene whose views lie in image files, and whose cloud lies in a file or is fused from the views.

    Args:
        name: of the scene.
        dataset: of the scene.
        find: gives the frames with sound poses; called once, when they are first asked for.
        depth_scale: units of the depth images a metre.
        said: whether the user named that unit.
        up: of the world; None finds it from some views when it is first asked for.
        classes: names of the class numbers.
        decode: for label images; None leaves them aside.
        cloud_file: its cloud; None fuses the views.
        step: when fusing, every so many pixels in each direction are taken; see `view_fusion.fuse_views`.
        spacing: when fusing, metres of a cell that gets one point; None keeps all.
        skipped: see `Scene`.
        remarks: see `Scene`.
    """

    def __init__(
        self,
        name: str,
        dataset: str,
        find: Callable[[], Sequence[FrameFiles]],
        *,
        depth_scale: float = MILLIMETRES,
        said: bool = False,
        up: tuple[float, float, float] | None = UP,
        classes: tuple[str, ...] | None = None,
        decode: Decode | None = None,
        cloud_file: Path | None = None,
        step: int | None = None,
        spacing: float | None = 0.01,
        skipped: "Counter[str] | None" = None,
        remarks: list[str] | None = None,
    ) -> None:
        super().__init__(name, dataset, skipped=skipped, remarks=remarks)
        self._find, self.depth_scale, self.said = find, depth_scale, said
        self.classes, self.decode, self.cloud_file = classes, decode, cloud_file
        self._given_up = up
        self.step, self.spacing = step, spacing

    @cached_property
    def frames(self) -> tuple[FrameFiles, ...]:
        """The frames with sound poses."""
        return tuple(self._find())

    @property
    def up(self) -> tuple[float, float, float]:
        """As given, else the level of what some views see."""
        if self._given_up is None:
            self._given_up = self._level()
        return self._given_up

    @up.setter
    def up(self, up: tuple[float, float, float]) -> None:
        self._given_up = up

    @property
    def view_names(self) -> tuple[str, ...]:
        """The names of the frames."""
        return tuple(frame.name for frame in self.frames)

    def view(self, index: int) -> View:
        """Reads three files at most; the first time some other depth images, too, for the unit."""
        self.check_unit()
        return self._view(self.frames[index])[0]

    def cloud(self) -> PointCloud:
        """That of the file, or of all views together; kept once it is made."""
        return self._cloud

    def with_views(self, indices: Iterable[int]) -> Scene:
        """A cloud that is fused comes from the chosen views alone."""
        if self.cloud_file is not None:
            return ChosenViews(self, indices)
        chosen = check_indices(indices, len(self.frames), self.name)
        scene = RgbdScene(
            self.name, self.dataset, lambda: [self.frames[index] for index in chosen],
            depth_scale=self.depth_scale, said=self.said, up=self.up, classes=self.classes,
            decode=self.decode, step=self.step, spacing=self.spacing, skipped=self.skipped,
            remarks=self.remarks,
        )  # fmt: skip
        scene.kept = self.kept
        return scene

    def check_unit(self) -> None:
        """Refuse depth that no room has.

        Raises:
            UserError: the median over some views is implausible; the text names the unit that is suspected.
        """
        median = self._median
        low, high = SAID if self.said else PLAUSIBLE
        if median is None or low <= median <= high:
            return
        suspected = suspected_unit(median * self.depth_scale)
        advice = "" if suspected == self.depth_scale else f" (depth looks like {_UNITS[suspected]})"
        raise UserError(
            f"scene {self.name}: at {self.depth_scale:g} units a metre the median depth is {median:.3g} m, "
            f"which is no room: give --depth-scale{f' {suspected:g}' if advice else ''}{advice}"
        )

    def _level(self) -> tuple[float, float, float]:
        rough = upright_of_cameras([frame.camera_to_world for frame in self.frames])
        normals = fuse_views(self._sound(self._some(), []), spacing=None).normal
        assert normals is not None
        x, y, z = level_up(normals, rough).tolist()
        return x, y, z

    def _some(self) -> list[FrameFiles]:
        """Some frames, evenly chosen."""
        count = len(self.frames)
        chosen = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).round().astype(int))
        return [self.frames[index] for index in chosen]

    def _sound(
        self, frames: Iterable[FrameFiles], faults: list[BadFrame]
    ) -> Iterator[tuple[View, NDArray[np.int64] | None]]:
        """The views of frames that can be used; the faults of the others."""
        for frame in frames:
            try:
                yield self._view(frame)
            except BadFrame as fault:
                self.leave_out(fault)
                faults.append(fault)

    @cached_property
    def _median(self) -> float | None:
        """Metres over some views, evenly chosen; None if none of them has depth."""
        found = []
        for frame in self._some():
            try:
                depth = read_depth(frame.depth, self.depth_scale)
            except BadFrame:
                continue
            found.append(depth[depth > 0])
        return float(np.median(np.concatenate(found))) if found else None

    @cached_property
    def _cloud(self) -> PointCloud:
        if self.cloud_file is not None:
            return read_cloud(self.cloud_file)
        self.check_unit()

        faults: list[BadFrame] = []
        cloud = fuse_views(self._sound(self.frames, faults), step=self.step, spacing=self.spacing)
        if not len(cloud):
            why = f"; the first: {faults[0]}" if faults else ""
            raise UserError(f"scene {self.name}: none of its {len(self.frames)} views gives a point{why}")
        return cloud

    def _view(self, frame: FrameFiles) -> tuple[View, NDArray[np.int64] | None]:
        depth = read_depth(frame.depth, self.depth_scale)
        color = read_color(frame.color, depth.shape)
        label = instance = None
        if frame.label is not None and self.decode is not None:
            label, instance = self.decode(read_labels(frame.label, depth.shape))
            if self.classes is not None:
                check_labels(label, self.classes, str(frame.label))
        view = View(frame.name, color, depth, label, frame.intrinsics, frame.camera_to_world)
        return view, instance


def suspected_unit(median: float) -> float:
    """The units a metre for which a median in raw units is closest to that of a usual room."""
    return min(_UNITS, key=lambda scale: abs(np.log(median / scale / _TYPICAL)))


def read_depth(path: Path, scale: float) -> NDArray[np.float32]:
    """(H, W) float32 metres, 0 where nothing was seen: 0, 65535, negative, NaN or infinite in the file.

    Args:
        path: an image of 16-bit or float pixels, or `.npy`; `.npy` and float images too are divided by
            `scale`.
        scale: units a metre.

    Raises:
        BadFrame: it cannot be read, is no depth image, or has no depth.
    """
    raw = _pixels(path, "depth")
    if raw.ndim != 2 or (raw.dtype.kind in "iub" and raw.dtype.itemsize < 2):
        raise BadFrame(
            "not a depth image", str(path), f"{raw.dtype} {raw.shape} is no depth image of 16 bits"
        )
    return masked_depth(raw, scale, str(path))


def masked_depth(raw: Array, scale: float, place: str) -> NDArray[np.float32]:
    """(H, W) float32 metres of raw depth, 0 where nothing was seen.

    Raises:
        BadFrame: nothing was seen anywhere.
    """
    whole = raw.dtype.kind in "iu"
    with np.errstate(invalid="ignore"):
        seen = (raw > 0) & ((raw < _NOTHING) if whole else np.isfinite(raw))
    if not seen.any():
        raise BadFrame("no depth", place, "no pixel has depth")
    return np.where(seen, raw / np.float32(scale), 0).astype(np.float32)


def read_color(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, brought to the size of the depth image if only that differs.

    Raises:
        BadFrame: it cannot be read, or has another shape.
    """
    from PIL.Image import Resampling

    from nonet.data.images import open_image

    try:
        image = open_image(path, orient=False)  # a turn by EXIF would part it from depth
    except UserError as error:
        raise BadFrame("colour unreadable", str(path), str(error).removeprefix(f"{path}: ")) from None
    height, width = shape
    if image.size != (width, height):
        if abs(image.size[0] / image.size[1] * height / width - 1) > _ASPECT:
            raise BadFrame(
                "colour of another shape",
                str(path),
                f"{image.size[0]} x {image.size[1]} pixels beside depth of {width} x {height}",
            )
        image = image.resize((width, height), Resampling.BILINEAR)
    return np.array(image)


def read_labels(path: Path, shape: tuple[int, ...]) -> Array:
    """(H, W) whole numbers as they stand in the file; of another size the nearest pixels are taken.

    Raises:
        BadFrame: it cannot be read, or is no image of labels.
    """
    raw = _pixels(path, "label")
    if raw.ndim != 2 or raw.dtype.kind not in "iu":
        raise BadFrame(
            "not a label image", str(path), f"{raw.dtype} {raw.shape} is no image of class numbers"
        )
    if raw.shape != shape:
        rows, columns = (
            np.minimum(((np.arange(want) + 0.5) * have / want).astype(int), have - 1)
            for want, have in zip(shape, raw.shape, strict=True)
        )
        raw = raw[rows[:, None], columns]
    return raw


def check_labels(label: Array, classes: Sequence[str], place: str) -> None:
    """Refuse class numbers that have no name.

    Args:
        label: any shape, -1 ignored.
        classes: names of 0, 1, ...
        place: names the data in an error.

    Raises:
        UserError: with the numbers.
    """
    if not label.size or (label.min() >= IGNORED and label.max() < len(classes)):
        return
    wrong = np.unique(label[(label < IGNORED) | (label >= len(classes))])
    listed = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
    raise UserError(f"{place}: labels {listed} are none of the {len(classes)} classes ({', '.join(classes)})")


def read_matrix(path: Path, *, shapes: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Numbers of a text file as a matrix of one of some shapes.

    Raises:
        UserError: no such file, no numbers, or another count of them.
    """
    try:
        numbers = np.array(path.read_text(encoding="utf-8").replace(",", " ").split(), np.float64)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path}: not a matrix of numbers") from None
    for shape in shapes:
        if numbers.size == shape[0] * shape[1]:
            return numbers.reshape(shape)
    wanted = " or ".join(f"{rows} x {columns}" for rows, columns in shapes)
    raise UserError(f"{path}: {numbers.size} numbers; wanted is a matrix of {wanted}")


def read_pose(path: Path) -> NDArray[np.float64]:
    """(4, 4) float64 camera-to-world of a text file of 4 x 4 or 3 x 4 numbers.

    Raises:
        BadFrame: it cannot be read, or is not rigid; the reason is that of `cameras.pose_fault`.
    """
    try:
        pose = read_matrix(path, shapes=[(4, 4), (3, 4)])
    except UserError as error:
        raise BadFrame("pose unreadable", str(path), str(error).removeprefix(f"{path}: ")) from None
    if len(pose) == 3:
        pose = np.concatenate([pose, [[0, 0, 0, 1]]])
    if fault := pose_fault(pose):
        raise BadFrame(fault, str(path))
    return pose


def read_intrinsics(path: Path) -> NDArray[np.float64]:
    """(3, 3) float64 of a text file: 3 x 3 or 4 x 4 numbers, or fx, fy, cx, cy.

    Raises:
        UserError: it cannot be read, or has no positive focal lengths.
    """
    matrix = read_matrix(path, shapes=[(3, 3), (4, 4), (1, 4)])
    if matrix.shape == (1, 4):
        fx, fy, cx, cy = matrix[0]
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    matrix = matrix[:3, :3]
    if (
        not np.isfinite(matrix).all()
        or matrix[0, 0] <= 0
        or matrix[1, 1] <= 0
        or matrix[2].tolist() != [0, 0, 1]
    ):
        raise UserError(f"{path}: no intrinsics of a camera: {matrix.round(3).tolist()}")
    return matrix


def _pixels(path: Path, what: str) -> Array:
    import warnings

    from PIL import Image

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return np.array(image)
    except FileNotFoundError:
        raise BadFrame(f"no {what} file", str(path), "no such file") from None
    except Exception as error:  # a damaged file raises nearly anything
        reason = f"{what} unreadable"
        raise BadFrame(reason, str(path), f"cannot be read ({type(error).__name__})") from None
