"""Pictures of labelled clouds: what a scene looks like from above, drawn point by point (ours)."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shapes: N points, K classes.

SIDE = 640  # pixels of a picture's longer side
UNKNOWN = (110, 110, 110)  # colour of what has no label
PAPER = 255


def palette(count: int) -> NDArray[np.uint8]:
    """(count, 3) colours, each far from its neighbours in the list: hues go on by the golden ratio."""
    rows = [
        colorsys.hsv_to_rgb(
            number * 0.618033988749895 % 1, (0.65, 0.9, 0.5)[number % 3], (0.95, 0.75)[number // 3 % 2]
        )
        for number in range(count)
    ]
    return (np.array(rows).reshape(-1, 3) * 255).round().astype(np.uint8)


def label_colors(labels: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """(N, 3) colours of classes or objects; grey where a label is below 0."""
    colors = np.concatenate([palette(count), [UNKNOWN]]).astype(np.uint8)
    return colors[np.where(labels < 0, count, labels)]


def from_above(
    coord: NDArray[np.float32],
    colors: NDArray[Any],
    *,
    side: int = SIDE,
    boxes: NDArray[np.float64] | None = None,
    box_colors: NDArray[np.uint8] | None = None,
    ceiling: float = 0.85,
) -> Any:
    """A picture of a cloud seen from above, the highest point of each pixel in front.

    Args:
        coord: (N, 3) metres, z up.
        colors: (N, 3) 0..255.
        side: pixels of the longer side.
        boxes: (n, 6) centres and sizes, drawn as rectangles.
        box_colors: (n, 3) of them.
        ceiling: points above this share of the height are left out, so that a room is not hidden by its
            ceiling; 1: none.

    Returns:
        A PIL image, x to the right and y upwards.
    """
    from PIL import Image, ImageDraw

    low, high = coord.min(0), coord.max(0)
    scale = (side - 1) / max(float((high - low)[:2].max()), 1e-6)
    wide, tall = (max(1, int(extent * scale) + 1) for extent in (high - low)[:2])
    pixels = np.full((tall, wide, 3), PAPER, np.uint8)
    below = coord[:, 2] <= low[2] + ceiling * (high[2] - low[2])
    order = np.flatnonzero(below)
    order = order[np.argsort(coord[order, 2], kind="stable")]
    columns, rows = _pixels(coord[order], low, scale, tall)
    dot = max(1, round(side / 320))
    for down in range(dot):
        for right in range(dot):
            pixels[np.minimum(rows + down, tall - 1), np.minimum(columns + right, wide - 1)] = colors[order]
    image = Image.fromarray(pixels)
    if boxes is not None and len(boxes):
        draw = ImageDraw.Draw(image)
        shown = palette(len(boxes)) if box_colors is None else box_colors
        for box, color in zip(boxes, shown, strict=True):
            corners = np.stack([box[:3] - box[3:] / 2, box[:3] + box[3:] / 2])
            x, y = _pixels(corners, low, scale, tall)
            draw.rectangle([int(x[0]), int(y[1]), int(x[1]), int(y[0])], outline=tuple(color), width=2)
    return image


def side_by_side(images: Sequence[Any], titles: Sequence[str]) -> Any:
    """Pictures in a row, each below its title."""
    from PIL import Image, ImageDraw

    gap, above = 8, 16
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    sheet = Image.new("RGB", (width, above + max(image.height for image in images)), (PAPER,) * 3)
    draw, left = ImageDraw.Draw(sheet), 0
    for image, title in zip(images, titles, strict=True):
        draw.text((left + 2, 2), title, fill=(40, 40, 40))
        sheet.paste(image, (left, above))
        left += image.width + gap
    return sheet


def _pixels(coord: NDArray[Any], low: NDArray[Any], scale: float, tall: int) -> tuple[Any, Any]:
    """Columns and rows of places, rows counted from above."""
    columns = np.floor((coord[:, 0] - low[0]) * scale).astype(int)
    rows = tall - 1 - np.floor((coord[:, 1] - low[1]) * scale).astype(int)
    return columns, np.clip(rows, 0, tall - 1)
