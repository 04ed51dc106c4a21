"""A street from above: the sweep, the boxes that were found, and the true ones (ours)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ponderv2.boxes3d import Boxes3D, corners
from ponderv2.label_pictures import palette

SIDE = 800  # pixels
BACKGROUND, POINT, TRUE = (24, 24, 28), (120, 124, 130), (235, 235, 235)
_OUTLINE = (6, 2, 0, 4)  # front left, rear left, rear right, front right of the bottom; see `boxes3d.corners`


def draw_street(
    points_N3: NDArray[Any],
    found: Boxes3D,
    classes: Sequence[str],
    low: Sequence[float],
    high: Sequence[float],
    *,
    truth: Boxes3D | None = None,
) -> Image.Image:
    """A picture of 800 pixels along the longer side; x to the right, y upwards.

    Args:
        points_N3: (N, 3) metres.
        found: drawn in the colours of their classes, with a line from the middle to the front.
        classes: their names.
        low: least x and y that are shown, metres.
        high: largest.
        truth: drawn in white beneath.
    """
    scale = SIDE / max(high[0] - low[0], high[1] - low[1])
    width, height = (max(1, round((high[axis] - low[axis]) * scale)) for axis in (0, 1))

    def pixels(places: NDArray[Any]) -> NDArray[Any]:
        return np.stack([(places[..., 0] - low[0]) * scale, (high[1] - places[..., 1]) * scale], -1)

    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    at = np.floor(pixels(np.asarray(points_N3)[:, :2])).astype(np.int64)
    at = at[((at >= 0) & (at < (width, height))).all(1)]
    canvas[at[:, 1], at[:, 0]] = POINT
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    colors = palette(len(classes))
    for boxes, true in ((truth, True), (found, False)):
        if boxes is None:
            continue
        outlines = pixels(corners(boxes)[:, _OUTLINE, :2])
        middles = pixels(boxes.center[:, :2])
        for outline, middle, label in zip(outlines, middles, boxes.label, strict=True):
            color = TRUE if true else tuple(int(value) for value in colors[label])
            draw.polygon([tuple(corner) for corner in outline], outline=color, width=1 if true else 2)
            front = (outline[0] + outline[3]) / 2
            draw.line([tuple(middle), tuple(front)], fill=color, width=1)
    return image
