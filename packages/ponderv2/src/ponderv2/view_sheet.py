"""Renderings beside what the camera saw, as one picture. Source: ours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ponderv2.scenes import IGNORED, View
from ponderv2.view_rendering import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: H, W of a view.

GAP = 4
"""pixels between pictures"""
TITLE = 16
"""pixels of height for what a column is"""
SIDE = 160
"""pixels that a picture is wide at least: small ones are enlarged by whole numbers"""
RAMP = np.array([[28, 16, 68], [79, 18, 123], [181, 54, 122], [251, 136, 97], [252, 253, 191]], np.float64)
"""colours of depth, near to far"""
EMPTY = (128, 128, 128)
"""where there is no depth, normal or label"""
COLUMNS = ("photograph", "rendered", "depth", "rendered depth", "rendered normals")


def view_sheet(pairs: Sequence[tuple[View, Picture]]) -> "Image":
    """A row for each pair: photograph, rendering, depth of both on one scale, normals.

    Args:
        pairs: views with what was rendered of them, of the same size.
    """
    from PIL import Image, ImageDraw

    rows = [panels(view, picture) for view, picture in pairs]
    times = max(1, -(-SIDE // rows[0][0].shape[1]))
    height, width = (side * times for side in rows[0][0].shape[:2])
    size = (len(COLUMNS) * (width + GAP) - GAP, TITLE + len(rows) * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        pen.text((column * (width + GAP) + 2, 2), title, fill="black")
        for row, pictures in enumerate(rows):
            image = Image.fromarray(pictures[column]).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(image, (column * (width + GAP), TITLE + row * (height + GAP)))
    return sheet


def panels(view: View, picture: Picture) -> list[NDArray[np.uint8]]:
    """The pictures of a row, (H, W, 3) uint8 each, in the order of `COLUMNS`."""
    known = np.concatenate([depth[depth > 0] for depth in (view.depth, picture.depth)])
    near, far = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    return [
        view.color,
        color_image(picture),
        depth_image(view.depth, near, far),
        depth_image(picture.depth, near, far),
        normal_image(picture),
    ]


def color_image(picture: Picture) -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    return (picture.color * 255).round().astype(np.uint8)


def depth_image(depth: NDArray[np.float32], near: float, far: float) -> NDArray[np.uint8]:
    """(H, W) metres, 0 = none -> (H, W, 3) uint8, dark is near."""
    share = np.clip((depth - near) / max(far - near, 1e-6), 0, 1)
    places = np.linspace(0, 1, len(RAMP))
    colors = np.stack([np.interp(share, places, RAMP[:, channel]) for channel in range(3)], -1)
    return np.where((depth > 0)[..., None], colors.round(), EMPTY).astype(np.uint8)


def normal_image(picture: Picture) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: x, y and z of the normal, -1..1, as red, green and blue."""
    colors = ((picture.normal + 1) * 127.5).round()
    return np.where(picture.mask[..., None], colors, EMPTY).astype(np.uint8)


def label_image(label: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(H, W) classes -> (H, W, 3) uint8, each in a colour of its own."""
    return np.where((label != IGNORED)[..., None], class_colors(label), EMPTY).astype(np.uint8)


def class_colors(label: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(...) class numbers -> (..., 3) uint8. Hues go round by the golden angle, so that neighbours differ."""
    hue = label.astype(np.float64) * 0.618034
    wave = 0.55 + 0.45 * np.cos(2 * np.pi * (hue[..., None] + np.array([0, 1, 2]) / 3))
    return (np.array([235.0, 190.0, 150.0])[label % 3][..., None] * wave).astype(np.uint8)
