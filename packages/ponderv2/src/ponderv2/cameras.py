"""Pinhole cameras: from pixels to points and back, poses that are sound, and where a camera looks (ours).

A camera looks along +z, x to the right and y down; pixel (u, v) has its centre at whole numbers.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponderv2.scenes import Array, View

# Shapes: P pixels or points.

RIGID = 5e-3
"""how far a pose may be from rigid, in any entry of R^T R - 1: the poses of 7-Scenes are off by 3e-4"""


class Projected(NamedTuple):
    """Points in an image.

    Attributes:
        u: (P,) float64 pixels to the right.
        v: (P,) float64 pixels down.
        depth: (P,) float64 along the optical axis, in the camera's metres; negative behind the camera.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    depth: NDArray[np.float64]


def unproject(view: View, u: Array, v: Array, depth: Array) -> NDArray[np.float64]:
    """(P, 3) float64 world points at planar `depth` behind pixels.

    Args:
        view: whose camera.
        u: (P,) pixels to the right, fractions allowed.
        v: (P,) pixels down.
        depth: (P,) metres along the optical axis.
    """
    pose = view.camera_to_world
    return (directions(view, u, v) * np.asarray(depth, np.float64)[:, None]) + pose[:3, 3]


def directions(view: View, u: Array, v: Array) -> NDArray[np.float64]:
    """(P, 3) float64: where a step of one metre of planar depth leads in the world; not of length 1."""
    pixels = np.stack([np.asarray(u, np.float64), np.asarray(v, np.float64), np.ones(len(u))])
    return (view.camera_to_world[:3, :3] @ np.linalg.solve(view.intrinsics, pixels)).T


def project(view: View, points: Array) -> Projected:
    """Where world points appear in a view: the inverse of `unproject`, for any similarity as pose.

    Args:
        view: whose camera.
        points: (P, 3) in the view's world.
    """
    pose = view.camera_to_world
    seen = np.linalg.solve(pose[:3, :3], (np.asarray(points, np.float64) - pose[:3, 3]).T)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v, _ = view.intrinsics @ (seen / seen[2])
    return Projected(u, v, seen[2])


def pose_fault(pose: Array) -> str | None:
    """What is wrong with a camera-to-world matrix, in a few words; None if it is rigid within `RIGID`.

    Args:
        pose: should be (4, 4).
    """
    pose = np.asarray(pose, np.float64)
    if pose.shape != (4, 4):
        return f"pose of shape {pose.shape}"
    if not np.isfinite(pose).all():
        return "pose not finite"
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > RIGID:
        return "pose without a last row of 0 0 0 1"
    rotation = pose[:3, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > RIGID:
        return "pose not rigid"
    if np.linalg.det(rotation) < 0:
        return "pose mirrored"
    return None


def look_at(eye: Array, target: Array, up: Array = (0.0, 0.0, 1.0)) -> NDArray[np.float64]:  # type: ignore[assignment]
    """(4, 4) float64 camera-to-world of a camera at `eye` that looks at `target`.

    Args:
        eye: (3,) metres.
        target: (3,) metres, another point.
        up: (3,) not along the line of sight.

    Raises:
        ValueError: there is no such pose.
    """
    eye, target, up = (np.asarray(vector, np.float64) for vector in (eye, target, up))
    forward = target - eye
    right = np.cross(forward, up)
    if not np.linalg.norm(right) > 1e-9 * np.linalg.norm(forward):
        raise ValueError(f"a camera at {eye.tolist()} cannot look at {target.tolist()} with up {up.tolist()}")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], 1)
    return pose


def pinhole(width: int, height: int, field_of_view: float) -> NDArray[np.float64]:
    """(3, 3) float64 intrinsics of an image with a horizontal field of view in degrees, centred."""
    focal = width / 2 / np.tan(np.radians(field_of_view) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def turn_up(up: Any) -> NDArray[np.float64]:
    """(3, 3) float64 rotation that brings `up` to +z by the shortest way; the identity for +z."""
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    sine, cosine = np.cross(up, (0, 0, 1.0)), up[2]
    if cosine < -1 + 1e-9:  # upside down: half a turn about x
        return np.diag([1.0, -1.0, -1.0])
    cross = np.array([[0, -sine[2], sine[1]], [sine[2], 0, -sine[0]], [-sine[1], sine[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
