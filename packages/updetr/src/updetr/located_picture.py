"""A picture of what was looked for and where it was found (ours)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from updetr.locating import Found

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = ("#1f6fb4", "#d1570b", "#0f8f68", "#b5498e", "#8a6a00", "#2f9fc9", "#6a51b8", "#b83a3a")
SIDE = 96  # pixels of a patch's thumbnail
GAP = 8


def draw(
    image: "Image",
    patches: Sequence["Image"],
    found: Sequence[Found],
    cut: Sequence[tuple[int, int, int, int] | None],
) -> "Image":
    """The image with a box for each patch in a colour of its own, and the patches below it.

    Args:
        image: RGB.
        patches: RGB, P of them.
        found: P; all their boxes are drawn, the surest with a thicker line.
        cut: for each patch x, y, width, height in pixels of where it was cut, drawn dashed, or None.
    """
    from PIL import Image, ImageDraw

    columns = max(1, (image.width - GAP) // (SIDE + GAP))
    rows = -(-len(patches) // columns)
    width = max(image.width, SIDE + 2 * GAP)
    page = Image.new("RGB", (width, image.height + rows * (SIDE + GAP) + GAP), "white")
    page.paste(image)
    pen = ImageDraw.Draw(page)
    line = max(2, round(max(image.size) / 250))
    for number, (patch, places, origin) in enumerate(zip(patches, found, cut, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        if origin is not None:
            x, y, w, h = origin
            _dashed(pen, (x, y, x + w - 1, y + h - 1), colour, line)
        for place, box in reversed([*enumerate(places.boxes.tolist())]):
            left, top, right, bottom = _inside(box, image.size)
            if right >= left and bottom >= top:
                pen.rectangle((left, top, right, bottom), outline=colour, width=line if place == 0 else 1)
        column, row = number % columns, number // columns
        thumbnail = patch.copy()
        thumbnail.thumbnail((SIDE, SIDE))
        corner = (GAP + column * (SIDE + GAP), image.height + GAP + row * (SIDE + GAP))
        page.paste(thumbnail, corner)
        right, bottom = corner[0] + thumbnail.width - 1, corner[1] + thumbnail.height - 1
        pen.rectangle((*corner, right, bottom), outline=colour, width=3)
    return page


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of an xyxy box within the image; empty where right < left or bottom < top."""
    width, height = size
    return max(box[0], 0), max(box[1], 0), min(box[2], width - 1), min(box[3], height - 1)


def _dashed(pen: Any, box: tuple[int, int, int, int], colour: str, line: int) -> None:
    left, top, right, bottom = box
    step = 4 * line
    for x in range(left, right, 2 * step):
        for y in (top, bottom):
            pen.line((x, y, min(x + step, right), y), fill=colour, width=line)
    for y in range(top, bottom, 2 * step):
        for x in (left, right):
            pen.line((x, y, x, min(y + step, bottom)), fill=colour, width=line)
