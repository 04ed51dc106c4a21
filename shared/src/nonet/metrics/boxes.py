"""Boxes in images: checks that never clamp, formats, overlap (numpy).

xyxy is left, top, right, bottom; xywh is left, top, width, height; both in pixels, or all in 0..1 ("unit").
The overlap is intersection over union of areas (Everingham et al. 2010), without the +1 of old pixel
conventions. Ours.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.errors import UserError

Floats = NDArray[np.float64]
Format = Literal["xyxy", "xywh"]
Scale = Literal["pixels", "unit", "any"]


def check_boxes(
    boxes: ArrayLike, what: str = "boxes", *, form: Format = "xyxy", scale: Scale = "any"
) -> Floats:
    """The boxes as (n, 4) float64 xyxy, or an error that names the first wrong one.

    Args:
        boxes: (n, 4) numbers; () or (0, 4) for none.
        what: how messages call them.
        form: how they are written; xywh is converted.
        scale: "unit" refuses what goes beyond 1; "any" takes either scale, but refuses a mixture; "pixels" is
            to be said where boxes within the first pixel are meant.

    Raises:
        UserError: a number is not finite or negative, x2 < x1 or y2 < y1, a width or height is negative, or
            the scale is wrong or mixed.
    """
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise UserError(f"{what} must be rows of 4 numbers, but their shape is {array.shape}")
    _refuse(~np.isfinite(array).all(1), array, what, "has a number that is not finite")
    _refuse((array < 0).any(1), array, what, "has a negative number")
    if form == "xywh":
        array = np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], 1)
    elif form != "xyxy":
        raise UserError(f"no format {form!r} of boxes; there are xyxy and xywh")
    else:
        _refuse((array[:, 2:] < array[:, :2]).any(1), array, what, "has x2 < x1 or y2 < y1; is it xywh?")
    large: list[bool] = (array.max(1) > 1).tolist()
    unit = [not big and any(row) for big, row in zip(large, array.tolist(), strict=True)]  # 0 0 0 0 is either
    if scale == "unit":
        _refuse(np.array(large), array, what, "goes beyond 1, but boxes in 0..1 are expected")
    elif scale == "any" and any(large) and any(unit):
        first, other = large.index(True), unit.index(True)
        raise UserError(
            f"{what}: box {first} (from 0) {array[first].tolist()} is in pixels and box {other} "
            f"{array[other].tolist()} in 0..1; use one scale for all, or say that all are pixels"
        )
    return array


def same_scale(left: Floats, right: Floats, names: str) -> None:
    """Nothing, unless one side is normalised and the other is in pixels.

    Raises:
        UserError: otherwise; `names` says what they are.
    """
    if not (left.size and right.size and left.any() and right.any()):
        return
    if (left.max() <= 1) != (right.max() <= 1):
        raise UserError(f"{names}: one side is in 0..1 and the other in pixels; use one scale for both")


def areas(boxes: Floats) -> Floats:
    """(n,) areas of (n, 4) xyxy boxes."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def paired_iou(left: Floats, right: Floats) -> Floats:
    """(n,) intersection over union of each left box with the right box of the same place; 0 where both are
    empty.

    Args:
        left: (n, 4) xyxy, checked.
        right: (n, 4) xyxy, checked.
    """
    return _share(_common(left, right), areas(left), areas(right))


def iou(left: Floats, right: Floats) -> Floats:
    """(n, m) intersection over union of all pairs.

    Args:
        left: (n, 4) xyxy, checked.
        right: (m, 4) xyxy, checked.
    """
    return _share(_common(left[:, None], right[None]), areas(left)[:, None], areas(right)[None])


def merged(boxes: Floats) -> Floats:
    """(1, 4): the smallest box around all of (n, 4), n >= 1."""
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])[None]


def _common(left: Floats, right: Floats) -> Floats:
    sides = np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2])
    return np.asarray(np.clip(sides, 0, None).prod(-1))


def _share(common: Floats, first: Floats, second: Floats) -> Floats:
    union = first + second - common
    return np.divide(common, union, out=np.zeros(common.shape), where=union > 0)


def _refuse(wrong: Any, boxes: Floats, what: str, why: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} such boxes)" if wrong.sum() > 1 else ""
        raise UserError(f"{what}: box {first} (from 0) {boxes[first].tolist()} {why}{more}")
