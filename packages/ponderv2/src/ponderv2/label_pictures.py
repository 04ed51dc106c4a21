"""Pictures of labelled clouds: what a scene looks like from above, drawn point by point (ours)."""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shapes: N points, K classes.

SIDE = 640  # pixels of a picture's longer side
UNKNOWN = (110, 110, 110)  # colour of what has no label
PAPER = 255
INK = (40, 40, 40)
LINE, GAP = 16, 8  # pixels of a line of text, and between pictures


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
    dot = int(np.clip(round(0.8 * np.sqrt(wide * tall / max(len(order), 1))), 1, 6))
    right, down = (np.tile(part.ravel(), len(order)) for part in np.mgrid[:dot, :dot] - dot // 2)
    columns, rows = (np.repeat(part, dot * dot) for part in (columns, rows))  # still from low to high
    columns, rows = np.clip(columns + right, 0, wide - 1), np.clip(rows + down, 0, tall - 1)
    pixels[rows, columns] = np.repeat(colors[order], dot * dot, 0)
    image = Image.fromarray(pixels)
    if boxes is not None and len(boxes):
        draw = ImageDraw.Draw(image)
        shown = palette(len(boxes)) if box_colors is None else box_colors
        for box, color in zip(boxes, shown, strict=True):
            corners = np.stack([box[:3] - box[3:] / 2, box[:3] + box[3:] / 2])
            x, y = _pixels(corners, low, scale, tall)
            draw.rectangle([int(x[0]), int(y[1]), int(x[1]), int(y[0])], outline=tuple(color), width=2)
    return image


def side_by_side(
    images: Sequence[Any], titles: Sequence[str], legend: Mapping[str, Sequence[int]] | None = None
) -> Any:
    """Pictures in a row, each below its title, above a line of names with their colours.

    Args:
        images: PIL images.
        titles: of each.
        legend: names to colours; none: no such line.
    """
    from PIL import Image, ImageDraw

    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    places = _legend_places(list(legend or {}), width)
    below = LINE * (1 + places[-1][1]) + GAP if places else 0
    tall = LINE + max(image.height for image in images)
    sheet = Image.new("RGB", (width, tall + below), (PAPER,) * 3)
    draw, left = ImageDraw.Draw(sheet), 0
    for image, title in zip(images, titles, strict=True):
        draw.text((left + 2, 2), title, fill=INK)
        sheet.paste(image, (left, LINE))
        left += image.width + GAP
    for (column, row), (name, color) in zip(places, (legend or {}).items(), strict=True):
        top = tall + GAP // 2 + row * LINE
        draw.rectangle([column, top + 2, column + 10, top + 12], fill=tuple(map(int, color)))
        draw.text((column + 15, top + 1), name, fill=INK)
    return sheet


def _legend_places(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Column in pixels and row of each name, in rows that fit."""
    places, column, row = [], 2, 0
    for name in names:
        needed = 15 + 7 * len(name) + 12  # a letter of PIL's own font takes 6 pixels
        if column > 2 and column + needed > width:
            column, row = 2, row + 1
        places.append((column, row))
        column += needed
    return places


def _pixels(coord: NDArray[Any], low: NDArray[Any], scale: float, tall: int) -> tuple[Any, Any]:
    """Columns and rows of places, rows counted from above."""
    columns = np.floor((coord[:, 0] - low[0]) * scale).astype(int)
    rows = tall - 1 - np.floor((coord[:, 1] - low[1]) * scale).astype(int)
    return columns, np.clip(rows, 0, tall - 1)
