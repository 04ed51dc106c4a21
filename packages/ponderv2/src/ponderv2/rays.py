"""Rays for the renderer: pixels are drawn first, and only the rays of those pixels are built (ours).

The original builds a ray for every pixel of every view and keeps 256 of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponderv2.cameras import directions
from ponderv2.scenes import IGNORED, BadFrame, View

# Shapes: R rays.


class Rays(NamedTuple):
    """Rays in the world of a sample, with what their pixels saw.

    Attributes:
        origin: (R, 3) float32, the camera's centre.
        direction: (R, 3) float32 of length 1.
        depth: (R,) float32 distance from the origin along the direction - not planar depth - in the units of
            the sample's coordinates; 0 where there is none.
        color: (R, 3) float32 in 0..1.
        label: (R,) int64, -1 ignored or unknown.
    """

    origin: NDArray[np.float32]
    direction: NDArray[np.float32]
    depth: NDArray[np.float32]
    color: NDArray[np.float32]
    label: NDArray[np.int64]


def draw_rays(view: View, count: int, generator: np.random.Generator) -> Rays:
    """Rays through random pixels that have depth.

    Args:
        view: where from.
        count: how many. A view with fewer such pixels gives some of them more than once (the original fails).
        generator: decides which pixels.

    Raises:
        BadFrame: no pixel has depth.
    """
    pixels = np.flatnonzero(view.depth.ravel() > 0)
    if not len(pixels):
        raise BadFrame("no depth", view.name, "no pixel has depth")
    return pixel_rays(view, generator.choice(pixels, count, replace=len(pixels) < count))


def pixel_rays(view: View, pixels: NDArray[np.int64]) -> Rays:
    """The rays of given pixels.

    Args:
        view: where from.
        pixels: (R,) numbers v * W + u.
    """
    v, u = np.divmod(pixels, view.depth.shape[1])
    steps = directions(view, u, v)
    lengths = np.linalg.norm(steps, axis=1)  # planar depth 1 is as far along the ray: secant times scale
    label = view.label
    return Rays(
        np.broadcast_to(view.camera_to_world[:3, 3], (len(pixels), 3)).astype(np.float32),
        (steps / lengths[:, None]).astype(np.float32),
        (view.depth[v, u] * lengths).astype(np.float32),
        (view.color[v, u] / np.float32(255)).astype(np.float32),
        np.full(len(pixels), IGNORED, np.int64) if label is None else label[v, u],
    )


def all_rays(view: View) -> Rays:
    """The rays of all pixels, row by row: to render a view as a whole."""
    return pixel_rays(view, np.arange(view.depth.size))


def join_rays(parts: Sequence[Rays]) -> Rays:
    """The rays of several views one after the other."""
    return Rays(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
