"""What cameras saw of points: inside an image, and in front of or close behind a surface. Source: ours.

Shapes: N points.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponderv2.cameras import project
from ponderv2.scenes import View

CHUNK = 1 << 18
"""points at a time"""


def nearest_pixels(
    points: NDArray[Any], view: View
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """The pixels that points of the world fall on.

    Args:
        points: (N, 3) in the view's world.
        view: whose camera.

    Returns:
        u, v (N,) int64; planar depth (N,) in the camera's metres; (N,) bool, whether the pixel is in the
        image and the point before the camera. Where it is not, u and v are 0.
    """
    found = project(view, points)
    height, width = view.depth.shape
    with np.errstate(invalid="ignore"):
        inside = (found.depth > 1e-6) & (found.u > -0.5) & (found.u < width - 0.5)
        inside &= (found.v > -0.5) & (found.v < height - 0.5)
    u, v = (np.rint(np.where(inside, side, 0)).astype(np.int64) for side in (found.u, found.v))
    return u, v, found.depth, inside


def in_images(points: NDArray[Any], views: Iterable[View], *, longest: float = np.inf) -> NDArray[np.bool_]:
    """Which points lie in the frustum of at least one camera, whatever hides them.

    Args:
        points: (N, 3) in the views' world.
        views: whose cameras.
        longest: planar depth at which a frustum ends, metres.

    Returns:
        (N,) bool.
    """
    found = np.zeros(len(points), bool)
    for view in views:
        left = np.flatnonzero(~found)
        _, _, ahead, inside = nearest_pixels(points[left], view)
        found[left] = inside & (ahead <= longest)
    return found


def observed(points: NDArray[Any], views: Sequence[View], reach: float) -> NDArray[np.bool_]:
    """Which points lie where a camera saw free space, or close behind a surface that it saw.

    Args:
        points: (N, 3) in the views' world.
        views: frames with depth; a pixel without depth saw nothing.
        reach: distance behind the surface along the ray that still counts, metres.

    Returns:
        (N,) bool.
    """
    found = np.zeros(len(points), bool)
    for view in views:
        eye = view.camera_to_world[:3, 3]
        left = np.flatnonzero(~found)
        for part in np.array_split(left, 1 + len(left) // CHUNK):
            u, v, ahead, inside = nearest_pixels(points[part], view)
            seen = np.where(inside, view.depth[v, u], 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                secant = np.linalg.norm(points[part] - eye, axis=1) / ahead
                found[part] = (seen > 0) & ((ahead - seen) * secant <= reach)
    return found
