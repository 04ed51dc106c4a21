"""Rays of a street: through LiDAR points, and through pixels without one (UniPAD, Yang et al. 2024).

The LiDAR's own rays begin in it, and have a colour where a camera sees their point. A camera's rays go
through pixels with a LiDAR point first; what is left of their number goes through a grid of pixels below the
sky, whose depth nobody knows (-1): they teach colours alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import project
from ponderv2.outdoor_frames import on_image
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.rays import Rays, join_rays, pixel_rays
from ponderv2.scenes import IGNORED, Array, View

# Shapes: R rays, N points.

UNKNOWN = -1.0
"""depth of a ray that no LiDAR point is on"""
HIDDEN = (0.5, 0.02)
"""a point is hidden if it lies farther than the nearest on its pixel by so many metres and such a share"""


class ColoredRays(NamedTuple):
    """Rays, and which of them have a colour.

    Attributes:
        rays: R of them.
        colored: (R,) bool; the colour of the others is 0 and means nothing.
    """

    rays: Rays
    colored: NDArray[np.bool_]


def sweep_rays(
    points_N3: Array,
    origin: Array,
    views: Sequence[View],
    options: OutdoorOptions,
    generator: np.random.Generator,
    *,
    place: str = "scene",
) -> ColoredRays:
    """Rays from the LiDAR through `options.rays` of its points.

    Args:
        points_N3: (N, 3) metres.
        origin: (3,) where the LiDAR is.
        views: cameras in the same world; none: no ray has a colour.
        options: how many, from which distance to which, and the range.
        generator: decides which points. Fewer than wanted come more than once.
        place: names the frame in an error.

    Raises:
        UserError: no point lies between the distances and in the range.
    """
    points = np.asarray(points_N3, np.float64)
    away = np.linalg.norm(points - origin, axis=1)
    usable = np.flatnonzero(_reachable(points, away, options))
    if not len(usable):
        raise UserError(
            f"{place}: no LiDAR point of the range lies {options.ray_near:g} to {options.ray_far:g} m away"
        )
    chosen = generator.choice(usable, options.rays, replace=len(usable) < options.rays)
    target, depth = points[chosen], away[chosen]
    color, colored = _colors(target, views)
    rays = Rays(
        np.broadcast_to(origin, target.shape).astype(np.float32),
        ((target - origin) / depth[:, None]).astype(np.float32),
        depth.astype(np.float32),
        color,
        np.full(len(target), IGNORED, np.int64),
    )
    return ColoredRays(rays, colored)


def camera_rays(
    views: Sequence[View], options: OutdoorOptions, generator: np.random.Generator
) -> ColoredRays:
    """`options.rays` rays of each camera, one camera after the other; all have colours.

    Args:
        views: with the sparse depth of LiDAR points.
        options: how many, from which distance to which, the range, the grid and the sky.
        generator: decides which pixels.
    """
    parts = [_one_camera(view, options, generator) for view in views]
    rays = join_rays(parts)
    return ColoredRays(rays, np.ones(len(rays.depth), bool))


def _one_camera(view: View, options: OutdoorOptions, generator: np.random.Generator) -> Rays:
    measured = np.flatnonzero(view.depth.ravel() > 0)
    rays = pixel_rays(view, measured)
    ends = rays.origin + rays.direction * rays.depth[:, None]
    known = measured[_reachable(ends, rays.depth, options)]
    if len(known) >= options.rays:
        return pixel_rays(view, generator.choice(known, options.rays, replace=False))
    height, width = view.depth.shape
    rows = np.arange(round(options.sky * height), height, options.pixel_step)
    grid = (rows[:, None] * width + np.arange(0, width, options.pixel_step)).ravel()
    missing = options.rays - len(known)
    rest = pixel_rays(view, generator.choice(grid, missing, replace=len(grid) < missing))
    rest = rest._replace(depth=np.full(missing, UNKNOWN, np.float32))
    return join_rays([pixel_rays(view, known), rest])


def _reachable(points: Array, away: Array, options: OutdoorOptions) -> NDArray[np.bool_]:
    """Which points lie between the distances and in the range: else no sample of the ray gets there."""
    within = ((points >= options.low) & (points <= options.high)).all(1)
    return np.asarray(within & (away > options.ray_near) & (away < options.ray_far))


def _colors(points_R3: Array, views: Sequence[View]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Colours 0..1 of points in the first view that sees them, and which points are seen by one."""
    color = np.zeros((len(points_R3), 3), np.float32)
    colored = np.zeros(len(points_R3), bool)
    metres, share = HIDDEN
    for view in views:
        height, width = view.depth.shape
        projected = project(view, points_R3)
        new = np.flatnonzero(on_image(projected, height, width) & ~colored)
        u = np.rint(projected.u[new]).astype(np.int64).clip(0, width - 1)
        v = np.rint(projected.v[new]).astype(np.int64).clip(0, height - 1)
        nearest = view.depth[v, u]
        open_sight = (nearest == 0) | (projected.depth[new] <= nearest * (1 + share) + metres)
        new, u, v = new[open_sight], u[open_sight], v[open_sight]
        color[new] = view.color[v, u] / np.float32(255)
        colored[new] = True
    return color, colored
