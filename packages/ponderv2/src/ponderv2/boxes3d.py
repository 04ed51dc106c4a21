"""Boxes in space that are turned about the vertical axis, as driving data sets have them."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shapes: K boxes, N points.

Float = NDArray[np.float64]
# Corners of the unit cube in the order of the three bits of their number: x, then y, then z.
_CORNERS_83 = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


@dataclass(frozen=True)
class Boxes3D:
    """Boxes of one frame, in metres of the frame's LiDAR: x forward or right, z up.

    Attributes:
        center: (K, 3) float64, of gravity.
        size: (K, 3) float64: length, width, height, along x, y, z of a box with yaw 0.
        yaw: (K,) float64, radians, counter-clockwise about +z, in -pi..pi.
        label: (K,) int64, a class, or -1 for a region to ignore.
        velocity: (K, 2) float64, m/s along x and y; NaN where unknown.
        points: (K,) int64: LiDAR points inside, as the data set says; -1 where it does not say.
        score: (K,) float64; 1 for true boxes.
    """

    center: Float
    size: Float
    yaw: Float
    label: NDArray[np.int64]
    velocity: Float
    points: NDArray[np.int64]
    score: Float

    def __len__(self) -> int:
        return len(self.center)

    def __getitem__(self, index: Any) -> "Boxes3D":
        """Some of the boxes: a slice, a mask or whole numbers."""
        return Boxes3D(*(getattr(self, field.name)[index] for field in fields(self)))


def make_boxes(
    center: Any,
    size: Any,
    yaw: Any,
    label: Any,
    *,
    velocity: Any = None,
    points: Any = None,
    score: Any = None,
) -> Boxes3D:
    """Boxes from what looks like arrays; what is left out is unknown, scores are 1.

    Raises:
        ValueError: lengths differ, or a number of a place, a size or an angle is not finite.
    """
    count = len(center)
    velocity = np.full((count, 2), np.nan) if velocity is None else velocity
    points = np.full(count, -1) if points is None else points
    score = np.ones(count) if score is None else score
    place, edges = (np.asarray(part, np.float64).reshape(-1, 3) for part in (center, size))
    angle = np.asarray(yaw, np.float64).reshape(-1)
    if not all(np.isfinite(part).all() for part in (place, edges, angle)):
        raise ValueError("a box has a place, size or angle that is not finite")
    boxes = Boxes3D(
        place,
        edges,
        wrap(angle),
        np.asarray(label, np.int64).reshape(-1),
        np.asarray(velocity, np.float64).reshape(-1, 2),
        np.asarray(points, np.int64).reshape(-1),
        np.asarray(score, np.float64).reshape(-1),
    )
    lengths = {field.name: len(getattr(boxes, field.name)) for field in fields(boxes)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"numbers of boxes differ: {lengths}")
    return boxes


def wrap(angle: Float) -> Float:
    """The same angle in -pi..pi (radians)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def corners(boxes: Boxes3D) -> Float:
    """(K, 8, 3) corners in metres: bit 2 of a corner's number is front, bit 1 left, bit 0 top.

    A box of size (4, 2, 1) at the origin with yaw pi/2 has its corner 7 at (-1, 2, 0.5).
    """
    local = _CORNERS_83 * boxes.size[:, None]
    cos, sin = np.cos(boxes.yaw)[:, None], np.sin(boxes.yaw)[:, None]
    x, y = local[..., 0], local[..., 1]
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, local[..., 2]], -1)
    return np.asarray(turned + boxes.center[:, None])


def moved_boxes(boxes: Boxes3D, world: NDArray[Any]) -> Boxes3D:
    """The boxes after a similarity of the world that keeps z upright: turns about z, scales, mirrors.

    Args:
        boxes: K of them.
        world: (4, 4).
    """
    linear = np.asarray(world, np.float64)[:3, :3]
    scale = np.cbrt(abs(np.linalg.det(linear)))
    ahead = np.stack([np.cos(boxes.yaw), np.sin(boxes.yaw)], 1) @ linear[:2, :2].T
    return replace(
        boxes,
        center=boxes.center @ linear.T + np.asarray(world)[:3, 3],
        size=boxes.size * scale,
        yaw=np.arctan2(ahead[:, 1], ahead[:, 0]),
        velocity=boxes.velocity @ linear[:2, :2].T,
    )


def points_inside(boxes: Boxes3D, points_N3: NDArray[Any]) -> NDArray[np.bool_]:
    """(K, N): which points lie inside or on the sides of which boxes."""
    x, y, z = np.asarray(points_N3, np.float64).T.copy()
    inside = np.zeros((len(boxes), len(x)), bool)
    for row, center, half, yaw in zip(inside, boxes.center, boxes.size / 2, boxes.yaw, strict=True):
        near = np.flatnonzero(np.abs(z - center[2]) <= half[2])
        dx, dy = x[near] - center[0], y[near] - center[1]
        along, across = np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx
        row[near[(np.abs(along) <= half[0]) & (np.abs(across) <= half[1])]] = True
    return inside
