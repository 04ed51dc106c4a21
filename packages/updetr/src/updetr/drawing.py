"""Boxes drawn on images with Pillow (ours)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from PIL.Image import Image

# Okabe and Ito's palette, told apart by most colour-blind eyes, then darker and lighter forms of it.
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (150, 90, 0), (160, 220, 255), (0, 100, 70), (250, 170, 140), (120, 60, 100),
)  # fmt: skip

TITLE = 11  # pixels of a title's letters


class Marks(NamedTuple):
    """Boxes of one kind.

    Attributes:
        boxes: (n, 4) xyxy in pixels.
        texts: n short texts beside them, or empty ones.
        colours: n numbers of colours; boxes with the same number look the same.
    """

    boxes: ArrayLike
    texts: Sequence[str]
    colours: Sequence[int]


def draw(image: "Image", marks: Marks, *, dashed: bool = False) -> "Image":
    """A copy of an RGB image with boxes.

    Lines are as thick as the image is large, a text stands on the box's upper edge, or below it where the
    image ends; boxes are clipped to the image.

    Args:
        image: RGB.
        marks: what to draw; the first lies on top.
        dashed: dashed lines, such as for true boxes beside found ones.
    """
    from PIL import ImageDraw, ImageFont

    picture = image.copy()
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    thick = max(1, round(min(width, height) / 200))
    font = ImageFont.load_default(max(9, round(min(width, height) / 30)))
    boxes = np.asarray(marks.boxes, np.float64).reshape(-1, 4)
    boxes = np.clip(boxes, 0, [width - 1, height - 1] * 2)
    rows = list(zip(boxes.tolist(), marks.texts, marks.colours, strict=True))
    for (left, top, right, bottom), text, number in reversed(rows):
        colour = COLOURS[number % len(COLOURS)]
        if dashed:
            _dashes(pen, (left, top, right, bottom), colour, thick)
        else:
            pen.rectangle((left, top, right, bottom), outline=colour, width=thick)
        if text:
            x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
            wide, high = x1 - x0 + 2 * thick, y1 - y0 + 2 * thick
            x, y = min(left, max(0, width - wide)), top - high if top >= high else min(top, height - high)
            pen.rectangle((x, y, x + wide, y + high), fill=colour)
            dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 128
            pen.text((x + thick - x0, y + thick - y0), text, font=font, fill="white" if dark else "black")
    return picture


def beside(pictures: Sequence["Image"], *, columns: int, gap: int = 6) -> "Image":
    """Pictures in a grid on white; each cell is as large as the largest picture."""
    from PIL import Image

    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % columns * (width + gap), place // columns * (height + gap)))
    return sheet


def titled(picture: "Image", text: str) -> "Image":
    """A picture with a text below it, which is cut where it is wider."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TITLE)
    page = Image.new("RGB", (picture.width, picture.height + 2 * TITLE), "white")
    page.paste(picture)
    try:
        font.getbbox(text)
    except UnicodeEncodeError:  # a file's name may hold bytes that are no letters
        text = text.encode("ascii", "replace").decode()
    ImageDraw.Draw(page).text((0, picture.height + TITLE // 2), text, font=font, fill="black")
    return page


def _dashes(
    pen: object, box: tuple[float, float, float, float], colour: tuple[int, int, int], thick: int
) -> None:
    left, top, right, bottom = box
    step = 4 * thick
    for start, end in (
        ((left, top), (right, top)),
        ((left, bottom), (right, bottom)),
        ((left, top), (left, bottom)),
        ((right, top), (right, bottom)),
    ):
        length = max(end[0] - start[0], end[1] - start[1])
        for at in np.arange(0, length, 2 * step):
            until = min(at + step, length)
            along = (1, 0) if end[0] > start[0] else (0, 1)
            pen.line(  # type: ignore[attr-defined]
                (
                    start[0] + along[0] * at,
                    start[1] + along[1] * at,
                    start[0] + along[0] * until,
                    start[1] + along[1] * until,
                ),
                fill=colour,
                width=thick,
            )
