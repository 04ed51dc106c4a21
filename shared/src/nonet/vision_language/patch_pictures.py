"""Pictures of what is thought of an image's patches: heat, frames, what is left of the image (ours)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# Shapes: Gh x Gw patches.

Colour = tuple[int, int, int]

ORANGE, BLUE = (230, 159, 0), (0, 114, 178)
"""Okabe and Ito's, told apart by most colour-blind eyes"""
GREY, WHITE = (90, 90, 90), (255, 255, 255)
"""of what is written beside pictures, and on them"""
FONT = 12
"""height of letters, pixels"""
LINE = 15
"""height of a line of text, pixels"""
FADED = 0.25
"""how much of its light a faded patch has left"""


def as_image(pixels: "Tensor", zoom: int = 1) -> "Image":
    """Pixels (3, H, W) uint8 as a picture, each a square of `zoom` pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)


def framed(picture: "Image", corner_yx: tuple[int, int], side: int, colour: Colour) -> "Image":
    """The same picture with a square frame drawn on it; none for a side of 0."""
    from PIL import ImageDraw

    if side:
        y, x = corner_yx
        ImageDraw.Draw(picture).rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=3)
    return picture


def heat(scores: "Tensor", size: tuple[int, int], span: tuple[float, float] | None = None) -> "Image":
    """Scores of patches from dark to light, so that print and colour-blind eyes keep the order.

    Args:
        scores: (Gh, Gw) float.
        size: width and height of the picture, pixels.
        span: what is darkest and what is lightest; None: the least and the greatest score.
    """
    from PIL import Image

    values = scores.detach().float().cpu().numpy()
    low, high = (float(values.min()), float(values.max())) if span is None else span
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    colours = np.stack([255 * share**0.6, 255 * share**1.5, 120 * (1 - share) + 60 * share], -1)
    return Image.fromarray(colours.round().astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def heat_over(
    picture: "Image", scores: "Tensor", span: tuple[float, float] | None = None, *, share: float = 0.65
) -> "Image":
    """A picture in grey under the heat of its patches, which has `share` of the light; see `heat`."""
    from PIL import Image

    grey = picture.convert("L").convert("RGB")
    return Image.blend(grey, heat(scores, picture.size, span), share)


def faded(picture: "Image", kept: "Tensor") -> "Image":
    """A picture on which the patches that are not kept are dark and grey.

    Args:
        picture: RGB, of any size.
        kept: (Gh, Gw) bool; the patches are spread over the picture evenly.
    """
    from PIL import Image

    dark = picture.convert("L").point(lambda light: int(light * FADED)).convert("RGB")
    stays: NDArray[np.uint8] = 255 * kept.cpu().numpy().astype(np.uint8)
    mask = Image.fromarray(stays, "L").resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(picture, dark, mask)


def write(sheet: "Image", x: int, y: int, text: str, colour: Colour = GREY, *, edged: bool = False) -> None:
    """A line of text on a picture, its upper left corner at x and y; edged, it can be read on anything."""
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(sheet).text(
        (x, y),
        text,
        font=ImageFont.load_default(FONT),
        fill=colour,
        stroke_width=int(edged),
        stroke_fill="black",
    )


def shortened(text: str, width: int) -> str:
    """A text that fits into so many pixels, cut at a word."""
    from PIL import ImageFont

    font = ImageFont.load_default(FONT)
    words = text.split()
    if font.getlength(" ".join(words)) <= width:
        return " ".join(words)
    while words and font.getlength(" ".join([*words, "..."])) > width:
        words.pop()
    return " ".join([*words, "..."])
