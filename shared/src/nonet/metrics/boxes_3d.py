"""Boxes in space: checks, corners seen from above, overlap of volumes (numpy).

A box is a row of centre x, y, z, sizes x, y, z and, if it is turned, yaw: metres, and radians about the z
axis from x towards y; the first size is along the yaw (a vehicle's length). Overlap is intersection over
union of volumes. The intersection of two turned rectangles is a convex polygon, whose corners are the corners
of each that lie within the other, and the crossings of their sides: at most 24 candidates, which all pairs
have in one array; ordered by angle they give the area (the shoelace formula). Ours.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]

# Shapes: n and m boxes, p pairs.

NEAR = 1e-9  # of a box's size, by which a corner on a side counts as within
AT_ONCE = 20_000  # pairs whose polygons are made at once: some 20 MB


def check_boxes_3d(boxes: ArrayLike, what: str = "boxes") -> Floats:
    """The boxes as (n, 7) float64, or an error that names the first wrong one.

    Args:
        boxes: (n, 7), or (n, 6) without yaw, which is then 0; () or (0, 6 or 7) for none.
        what: how messages call them.

    Raises:
        UserError: a number is not finite, or a size is not above 0.
    """
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.zeros((0, 7))
    if array.ndim != 2 or array.shape[1] not in (6, 7):
        raise UserError(f"{what} must be rows of 6 or 7 numbers, but their shape is {array.shape}")
    if array.shape[1] == 6:
        array = np.concatenate([array, np.zeros((len(array), 1))], 1)
    for wrong, why in (
        (~np.isfinite(array).all(1), "has a number that is not finite"),
        ((array[:, 3:6] <= 0).any(1), "has a size that is not above 0"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            raise UserError(f"{what}: box {first} (from 0) {array[first].tolist()} {why}")
    return array


def corners_above(boxes: Floats) -> Floats:
    """(n, 4, 2): corners x, y of (n, 7) boxes seen from above, counterclockwise from front left.

    The front is where the yaw points.
    """
    signs = np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]])
    local = signs * boxes[:, None, 3:5] / 2
    cos, sin = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return np.stack([x, y], -1) + boxes[:, None, :2]


def iou_3d(left: ArrayLike, right: ArrayLike) -> Floats:
    """(n, m) intersection over union of the volumes of all pairs.

    Args:
        left: (n, 7) or (n, 6) boxes.
        right: (m, 7) or (m, 6) boxes.

    Raises:
        UserError: a box has a number that is not finite or a size that is not above 0.
    """
    a, b = check_boxes_3d(left, "left boxes"), check_boxes_3d(right, "right boxes")
    half = [boxes[:, 5] / 2 for boxes in (a, b)]
    low = np.maximum((a[:, 2] - half[0])[:, None], (b[:, 2] - half[1])[None])
    high = np.minimum((a[:, 2] + half[0])[:, None], (b[:, 2] + half[1])[None])
    tall = np.clip(high - low, 0, None)
    common = tall * common_areas(a, b)
    volumes = a[:, 3:6].prod(1)[:, None] + b[:, 3:6].prod(1)[None]
    return np.asarray(common / (volumes - common))


def common_areas(left: Floats, right: Floats) -> Floats:
    """(n, m): the areas that (n, 7) and (m, 7) boxes have in common, seen from above."""
    found = np.zeros((len(left), len(right)))
    reach = [np.linalg.norm(boxes[:, 3:5], axis=1) / 2 for boxes in (left, right)]
    apart = np.linalg.norm(left[:, None, :2] - right[None, :, :2], axis=-1)
    rows, columns = np.nonzero(apart < reach[0][:, None] + reach[1][None])
    for first in range(0, len(rows), AT_ONCE):
        r, c = rows[first : first + AT_ONCE], columns[first : first + AT_ONCE]
        found[r, c] = _paired_areas(left[r], right[c])
    return found


def _paired_areas(left: Floats, right: Floats) -> Floats:
    """(p,): the common area of each left rectangle and the right one of the same place."""
    middle = left[:, :2].copy()  # near the numbers' origin rounding errors are those of sizes, not of places
    left, right = left.copy(), right.copy()
    left[:, :2] -= middle
    right[:, :2] -= middle
    a, b = corners_above(left), corners_above(right)
    crossings, crossed = _crossings(a, b)
    points = np.concatenate([a, b, crossings], 1)
    real = np.concatenate([_within(a, right), _within(b, left), crossed], 1)
    count = real.sum(1)
    center = (points * real[..., None]).sum(1) / np.maximum(count, 1)[:, None]
    around = points - center[:, None]
    angles = np.where(real, np.arctan2(around[..., 1], around[..., 0]), np.inf)
    order = angles.argsort(1, kind="stable")
    around = np.take_along_axis(around, order[..., None], 1)
    # what is not real comes last and is moved onto the first corner, where it adds no area
    last = np.arange(points.shape[1])[None] >= count[:, None]
    around = np.where(last[..., None], around[:, :1], around)
    after = np.roll(around, -1, 1)
    twice = (around[..., 0] * after[..., 1] - around[..., 1] * after[..., 0]).sum(1)
    return np.asarray(np.where(count > 2, np.abs(twice) / 2, 0.0))


def _within(corners: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """(p, 4): whether corners lie in the box of the same place."""
    away = corners - boxes[:, None, :2]
    cos, sin = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    along, across = away[..., 0] * cos + away[..., 1] * sin, away[..., 1] * cos - away[..., 0] * sin
    half = boxes[:, None, 3:5] / 2 * (1 + NEAR)
    return np.asarray((np.abs(along) <= half[..., 0]) & (np.abs(across) <= half[..., 1]))


def _crossings(a: Floats, b: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(p, 16, 2) points where sides cross, and whether they do."""
    start, other = a[:, :, None], b[:, None]
    side, turn = np.roll(a, -1, 1)[:, :, None] - start, np.roll(b, -1, 1)[:, None] - other
    gap = other - start
    across = side[..., 0] * turn[..., 1] - side[..., 1] * turn[..., 0]
    # parallel sides share no single point; their ends are corners within
    scale = np.linalg.norm(side, axis=-1) * np.linalg.norm(turn, axis=-1)
    askew = np.abs(across) > NEAR * scale
    safe = np.where(askew, across, 1.0)
    here = (gap[..., 0] * turn[..., 1] - gap[..., 1] * turn[..., 0]) / safe
    there = (gap[..., 0] * side[..., 1] - gap[..., 1] * side[..., 0]) / safe
    real = askew & (here >= 0) & (here <= 1) & (there >= 0) & (there <= 1)
    points = start + here[..., None] * side
    return points.reshape(len(a), 16, 2), real.reshape(len(a), 16)
