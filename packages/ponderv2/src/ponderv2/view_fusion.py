"""A point cloud from posed depth images: every few pixels a point with its normal, then one a cell (ours)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponderv2.cameras import directions
from ponderv2.scenes import IGNORED, Array, PointCloud, View

# Shapes: h x w pixels of a view that are taken, N points.

_JUMP = 0.08  # of the depth: neighbours farther apart than this lie on two surfaces
_ACROSS = 160  # points across an image unless a step is given
_BASE = 0.01  # of the image's width: how far neighbours are; depth of Kinects comes in coarse steps
_BATCH = 1_000_000  # new points after which cells are merged, so that long videos fit into memory


class _Points(NamedTuple):
    """Points, or means over cells: columns of count, coord, color and normal; labels of one of them."""

    values: NDArray[np.float64]
    labels: NDArray[np.int64]


def fuse_views(
    views: Iterable[tuple[View, NDArray[np.int64] | None]],
    *,
    step: int | None = None,
    spacing: float | None = 0.01,
) -> PointCloud:
    """The points that views see, in the world of their poses.

    Args:
        views: each with its (H, W) object numbers, or None; read one at a time.
        step: every so many pixels in each direction become a point; None takes about 160 across an image.
            Those without four neighbours on the same
            surface have no normal and are left out.
        spacing: metres of a cell that becomes one point, the mean of what is in it; its labels are those of
            the first point seen there. None keeps all points.

    Returns:
        With colours and normals, towards the camera; with labels if a view has some. It may be empty.
    """
    parts: list[_Points] = []
    new = 0
    labelled = objects = False
    for view, instance in views:
        labelled, objects = labelled or view.label is not None, objects or instance is not None
        parts.append(_points(view, instance, step))
        new += len(parts[-1].labels)
        if spacing is not None and new > _BATCH:
            parts, new = [_merged(_joined(parts), spacing)], 0
    whole = _joined(parts)
    if spacing is not None:
        whole = _merged(whole, spacing)
    values = whole.values
    length = np.linalg.norm(values[:, 7:], axis=1, keepdims=True)
    return PointCloud(
        coord=values[:, 1:4].astype(np.float32),
        color=values[:, 4:7].astype(np.float32),
        normal=(values[:, 7:] / np.maximum(length, 1e-12)).astype(np.float32),
        semantic=whole.labels[:, 0].copy() if labelled else None,
        instance=whole.labels[:, 1].copy() if objects else None,
    )


def view_normals(points: Array, seen: Array, reach: int = 1) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Normals of an organised cloud in its camera's frame, towards the camera.

    Args:
        points: (h, w, 3), the camera at the origin.
        seen: (h, w) bool.
        reach: how many points away the neighbours are that span the surface.

    Returns:
        (h, w, 3) of length 1 where there is one, and (h, w) where that is.
    """
    height, width = seen.shape
    normal, there = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    if min(height, width) < 2 * reach + 1:
        return normal, there
    edge, inside = reach, slice(reach, -reach)
    across = points[inside, 2 * edge :] - points[inside, : -2 * edge]
    down = points[2 * edge :, inside] - points[: -2 * edge, inside]
    inner = np.cross(down, across)  # x right, y down: this looks back at the camera
    length = np.linalg.norm(inner, axis=2)
    depth = points[..., 2]
    near = 2 * _JUMP * depth[inside, inside]
    smooth = (np.abs(across[..., 2]) < near) & (np.abs(down[..., 2]) < near)
    beside = seen[inside, 2 * edge :] & seen[inside, : -2 * edge]
    above = seen[2 * edge :, inside] & seen[: -2 * edge, inside]
    good = seen[inside, inside] & beside & above & smooth & (length > 0)
    inner[good] /= length[good, None]
    normal[inside, inside][good] = inner[good]
    there[inside, inside] = good
    return normal, there


def _points(view: View, instance: Array | None, step: int | None) -> _Points:
    step = step or max(1, round(view.depth.shape[1] / _ACROSS))
    depth = view.depth[::step, ::step]
    rows, columns = np.mgrid[0 : view.depth.shape[0] : step, 0 : view.depth.shape[1] : step]
    rotation = view.camera_to_world[:3, :3]
    steps = directions(view, columns.ravel(), rows.ravel()) @ np.linalg.inv(rotation).T
    points = steps.reshape(*depth.shape, 3) * depth[..., None]
    reach = max(1, round(_BASE * view.depth.shape[1] / step))
    normal, there = view_normals(points, depth > 0, reach)
    count = int(there.sum())
    values = np.empty((count, 10))
    values[:, 0] = 1
    values[:, 1:4] = points[there] @ rotation.T + view.camera_to_world[:3, 3]
    values[:, 4:7] = view.color[::step, ::step][there]
    values[:, 7:] = normal[there] @ rotation.T
    labels = np.full((count, 2), IGNORED)
    for column, image in enumerate((view.label, instance)):
        if image is not None:
            labels[:, column] = image[::step, ::step][there]
    return _Points(values, labels)


def _joined(parts: list[_Points]) -> _Points:
    if not parts:
        return _Points(np.zeros((0, 10)), np.zeros((0, 2), np.int64))
    return _Points(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _merged(points: _Points, spacing: float) -> _Points:
    """One row a cell: means weighted with the counts, labels of the first."""
    import torch

    from nonet.kernels.voxels import voxelise

    if not len(points.labels):
        return points
    found: Any = voxelise(torch.from_numpy(points.values[:, 1:4].copy()), spacing)
    cell, cells = found.inverse.numpy(), len(found.counts)
    weight = points.values[:, 0]
    values = np.empty((cells, 10))
    values[:, 0] = np.bincount(cell, weight, cells)
    for column in range(1, 10):
        values[:, column] = np.bincount(cell, weight * points.values[:, column], cells) / values[:, 0]
    first = np.full(cells, len(cell))
    np.minimum.at(first, cell, np.arange(len(cell)))
    return _Points(values, points.labels[first])
