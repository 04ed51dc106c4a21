"""A picture of what was looked for and where it was found (ours)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from updetr.drawing import COLOURS, Marks, draw
from updetr.locating import Found

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96  # pixels of a patch's thumbnail
GAP = 8


def located(
    image: "Image",
    patches: Sequence["Image"],
    found: Sequence[Found],
    cut: Sequence[tuple[int, int, int, int] | None],
) -> "Image":
    """The image with a box for each patch in a colour of its own, and the patches below it.

    Args:
        image: RGB.
        patches: RGB, P of them.
        found: P; all their boxes are drawn, the surest with its score.
        cut: for each patch x, y, width, height in pixels of where it was cut, drawn dashed, or None.
    """
    from PIL import Image, ImageDraw

    origins = [(number, box) for number, box in enumerate(cut) if box is not None]
    corners = [(x, y, x + width, y + height) for _, (x, y, width, height) in origins]
    picture = draw(image, Marks(corners, [""] * len(origins), [number for number, _ in origins]), dashed=True)
    for number, places in enumerate(found):
        texts = [f"{score:.2f}" if place == 0 else "" for place, score in enumerate(places.scores.tolist())]
        picture = draw(picture, Marks(places.boxes.tolist(), texts, [number] * len(texts)))
    columns = max(1, (image.width - GAP) // (SIDE + GAP))
    rows = -(-len(patches) // columns)
    size = max(image.width, SIDE + 2 * GAP), image.height + rows * (SIDE + GAP) + GAP
    page = Image.new("RGB", size, "white")
    page.paste(picture)
    pen = ImageDraw.Draw(page)
    for number, patch in enumerate(patches):
        row, column = divmod(number, columns)
        small = patch.copy()
        small.thumbnail((SIDE, SIDE))
        left, top = GAP + column * (SIDE + GAP), image.height + GAP + row * (SIDE + GAP)
        page.paste(small, (left, top))
        edges = (left, top, left + small.width - 1, top + small.height - 1)
        pen.rectangle(edges, outline=COLOURS[number % len(COLOURS)], width=3)
    return page
