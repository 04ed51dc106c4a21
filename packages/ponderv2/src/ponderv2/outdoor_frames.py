"""Frames of a car: one LiDAR sweep, the cameras around it, and the boxes somebody drew.

The world of a frame is its LiDAR: points stay as they were measured, and cameras are placed in that frame.
Where boxes were drawn in the image of one camera alone, as in KITTI, nobody knows what else there is: a
detector learns, is scored and finds boxes there only.
"""

import functools
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nonet.errors import UserError
from ponderv2.boxes3d import Boxes3D
from ponderv2.cameras import Projected, pose_fault, project
from ponderv2.scenes import PointCloud, Scene, View

# Shapes: N points, H and W of an image.

NEAREST = 0.1  # metres: what is closer to a camera's plane is not seen by it


@dataclass(frozen=True)
class Camera:
    """One camera of a frame.

    Attributes:
        name: such as `CAM_FRONT`.
        image: its file.
        intrinsics: (3, 3) float64, pixels; the centre of the first pixel is (0, 0).
        lidar_to_camera: (4, 4) float64, metres; camera x right, y down, z forward.
    """

    name: str
    image: Path
    intrinsics: NDArray[np.float64]
    lidar_to_camera: NDArray[np.float64]


@dataclass(frozen=True)
class DrawnIn:
    """The camera in whose image boxes were drawn.

    Attributes:
        camera: it; its image file need not be there.
        usual: width and height in pixels where it is not.
    """

    camera: Camera
    usual: tuple[int, int]

    def holds(self, points_N3: NDArray[Any]) -> NDArray[np.bool_]:
        """(N,) which points of the LiDAR's frame, in metres, fall on the image.

        Raises:
            UserError: the image file is there and cannot be read.
        """
        width, height = self.usual
        if self.camera.image.is_file():
            width, height = image_size(self.camera.image)
        to_world = np.linalg.inv(self.camera.lidar_to_camera).astype(np.float64)
        empty = np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0), np.float32)
        view = View(self.camera.name, *empty, None, self.camera.intrinsics, to_world)
        return on_image(project(view, points_N3), height, width)


@dataclass(frozen=True)
class Frame:
    """What is known of a frame before its files are read.

    Attributes:
        name: unique in its data set.
        lidar: file of float32 numbers, `channels` a point: x, y, z, intensity, and more that is not read.
        channels: numbers a point.
        full_intensity: the intensity that becomes 1.
        cameras: those whose images there are.
        boxes: in the LiDAR's frame; None where nobody drew any.
        sample: the data set's own name of it, such as nuScenes' token.
        drawn_in: the camera outside whose image nobody drew boxes; None: they were drawn all around.
    """

    name: str
    lidar: Path
    channels: int
    full_intensity: float
    cameras: tuple[Camera, ...]
    boxes: Boxes3D | None
    sample: str = ""
    drawn_in: DrawnIn | None = None


class OutdoorScene(Scene):
    """A frame as a scene: its sweep is the cloud, its cameras are the views, the LiDAR is the world.

    Args:
        frame: as a reader found it.
        dataset: the name under which its data set is normalised.
        classes: names of the numbers in the boxes' `label`.
        skipped: reasons -> frames left out, shared with the list of scenes.
    """

    def __init__(
        self, frame: Frame, dataset: str, *, classes: tuple[str, ...], skipped: "Counter[str] | None" = None
    ) -> None:
        super().__init__(frame.name, dataset, skipped=skipped)
        self.frame, self.classes = frame, classes

    @property
    def view_names(self) -> tuple[str, ...]:
        """The cameras."""
        return tuple(camera.name for camera in self.frame.cameras)

    def cloud(self) -> PointCloud:
        """The sweep: places in metres, strength 0..1, no colours, no normals."""
        points = self._sweep
        return PointCloud(coord=points[:, :3].copy(), strength=points[:, 3:4].copy())

    def view(self, index: int) -> View:
        """A camera's image, with the depth of the LiDAR's points where they fall on it.

        Args:
            index: in `view_names`.

        Returns:
            Colours (H, W, 3) uint8; depth (H, W) float32, planar metres, 0 where no point fell and that of
            the nearest where several did; no labels.
        """
        camera = self.frame.cameras[index]
        color = read_image(camera.image)
        to_world = np.linalg.inv(camera.lidar_to_camera).astype(np.float64)
        empty = np.zeros(color.shape[:2], np.float32)
        view = View(camera.name, color, empty, None, camera.intrinsics, to_world)
        return replace(view, depth=sparse_depth(view, self._sweep[:, :3]))

    def boxes(self) -> Boxes3D | None:
        """The boxes in the world's frame; None where nobody drew any."""
        return self.frame.boxes

    def judged(self, points_N3: NDArray[Any]) -> NDArray[np.bool_]:
        """(N,) which points lie where somebody looked for objects; a box is judged by its middle.

        Args:
            points_N3: (N, 3) metres, in the world.
        """
        if self.frame.drawn_in is None:
            return np.ones(len(points_N3), bool)
        return self.frame.drawn_in.holds(points_N3)

    def judged_boxes(self) -> Boxes3D | None:
        """The boxes that a detector learns from and is scored by; None where nobody drew any."""
        boxes = self.frame.boxes
        return None if boxes is None else boxes[self.judged(boxes.center)]

    @property
    def _sweep(self) -> NDArray[np.float32]:
        frame = self.frame
        try:
            changed = frame.lidar.stat().st_mtime_ns
        except OSError:
            changed = 0  # reading says what is wrong
        return _kept_sweep(frame.lidar, frame.channels, frame.full_intensity, changed)


def read_sweep(path: Path, channels: int, full_intensity: float) -> NDArray[np.float32]:
    """The points of a sweep, (N, 4) float32: x, y, z in metres and intensity in 0..1.

    Points that are not finite are left out.

    Raises:
        UserError: no such file, a length that does not fit, no point left, or intensities that do not fit.
    """
    try:
        raw = np.fromfile(path, np.float32)
    except FileNotFoundError:
        raise UserError(f"{path}: no such LiDAR file") from None
    if len(raw) == 0 or len(raw) % channels or path.stat().st_size % 4:
        raise UserError(
            f"{path}: {path.stat().st_size} bytes are not points of {channels} float32 numbers each"
        )
    points = raw.reshape(-1, channels)[:, :4]
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        raise UserError(f"{path}: none of its points is finite")
    points[:, 3] /= full_intensity
    low, high = points[:, 3].min(), points[:, 3].max()
    if low < 0 or high > 1 + 1e-6:
        raise UserError(
            f"{path}: intensities of {low * full_intensity:g} to {high * full_intensity:g} do not fit "
            f"0..{full_intensity:g}; a point may not have {channels} numbers"
        )
    return points


@functools.lru_cache(maxsize=2)  # a cloud and its views are read one after the other; 15 GB are in nuScenes
def _kept_sweep(path: Path, channels: int, full_intensity: float, changed: int) -> NDArray[np.float32]:
    points = read_sweep(path, channels, full_intensity)
    points.flags.writeable = False
    return points


def read_image(path: Path) -> NDArray[np.uint8]:
    """The colours of a photograph, (H, W, 3) uint8.

    Raises:
        UserError: no such file, or no image.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not an image that can be read ({error})") from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a photograph in pixels, of which only the head is read.

    Raises:
        UserError: no such file, or no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not an image that can be read ({error})") from error


def on_image(projected: Projected, height: int, width: int) -> NDArray[np.bool_]:
    """Which points are before the camera and on its image, half a pixel around its outermost centres."""
    u, v, depth = projected
    with np.errstate(invalid="ignore"):
        beside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    return np.asarray(beside & (depth >= NEAREST))


def sparse_depth(view: View, points_N3: NDArray[Any]) -> NDArray[np.float32]:
    """The planar depth of points on a view's image, (H, W) float32; the nearest counts, 0 is none."""
    height, width = view.depth.shape
    projected = project(view, points_N3)
    seen = on_image(projected, height, width)
    u = np.rint(projected.u[seen]).astype(np.int64).clip(0, width - 1)
    v = np.rint(projected.v[seen]).astype(np.int64).clip(0, height - 1)
    image = np.full((height, width), np.inf, np.float32)
    np.minimum.at(image, (v, u), projected.depth[seen].astype(np.float32))
    image[np.isinf(image)] = 0
    return image


def check_camera(where: str, intrinsics: Any, lidar_to_camera: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as float64 matrices, (3, 3) and (4, 4).

    Raises:
        UserError: no intrinsics, or no rigid motion.
    """
    k, motion = np.asarray(intrinsics, np.float64), np.asarray(lidar_to_camera, np.float64)
    if (
        k.shape != (3, 3)
        or not np.isfinite(k).all()
        or not (k[0, 0] > 0 < k[1, 1] and (k[2] == (0, 0, 1)).all())
    ):
        raise UserError(f"{where}: {k.tolist()} are no intrinsics of a camera")
    if fault := pose_fault(motion):
        raise UserError(f"{where}: {fault}")
    return k, motion
