"""Which patches of an image a detector shall find (Dai et al. 2021, section 3.1; released code).

Every patch is drawn by itself: a width and a height of any aspect, then a place. With patches of 8 px at
least, in an image of 500 x 400, widths average 0.500 of the image's and areas 0.250, 23 % have an aspect
above 4, and two patches overlap with an IoU of 0.157. One box of 0.8 x 0.8 in the middle has a mean IoU of
0.31 with them: who answers always that has learnt nothing (`CONSTANT_BOX_IOU`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator

MARGIN = 8  # pixels by which a patch is narrower and lower than its image
CONSTANT_BOX_IOU = (
    0.31  # mean IoU of the box (0.1, 0.1, 0.9, 0.9) with random patches: the floor of the pretext
)


def least_side(side: int, least: float) -> int:
    """The least width (or height) of a patch in an image so wide (or high).

    Args:
        side: of the image, in pixels.
        least: pixels if it is 1 or more, else a share of the side, rounded up.
    """
    return math.ceil(least * side) if least < 1 else int(least)


def has_patches(width: int, height: int, least: float = MARGIN) -> bool:
    """Whether patches can be cut from an image: both sides are over 16 px, and over `least` by 8."""
    return all(side > 2 * MARGIN and least_side(side, least) <= side - MARGIN for side in (width, height))


def sample_patches(
    width: int, height: int, count: int, *, random: np.random.Generator, least: float = MARGIN
) -> NDArray[np.int64]:
    """Random patches of an image: sides uniform in {least, ..., side - 8}, then places uniform.

    The place is such that the last column and the last row are in no patch, as in the released code.

    Args:
        width: of the image, in pixels.
        height: likewise.
        count: how many patches; they do not know of each other.
        random: where the numbers come from.
        least: least side of a patch, in pixels, or below 1 as a share of the image's side.

    Returns:
        (count, 4) int64: x, y, width, height in pixels.

    Raises:
        ValueError: the image is too small; ask `has_patches` before.
    """
    if not has_patches(width, height, least):
        raise ValueError(f"an image of {width} x {height} px has no patches of {least:g} and more")
    sides = np.array([width, height])
    low = np.array([least_side(width, least), least_side(height, least)])
    sizes = random.integers(low, sides - MARGIN, size=(count, 2), endpoint=True)
    places = random.integers(0, sides - sizes)
    return np.concatenate([places, sizes], axis=1)


def patches_of(
    seed: int, epoch: int, index: int, width: int, height: int, count: int, *, least: float = MARGIN
) -> NDArray[np.int64]:
    """The patches of image `index` in an epoch, as `sample_patches` draws them: the same for any worker."""
    random = generator(seed, "patches", epoch, index)
    return sample_patches(width, height, count, random=random, least=least)


def relative_boxes(patches: NDArray[np.int64], width: int, height: int) -> NDArray[np.float32]:
    """(..., 4) patches x, y, w, h in pixels as float32 boxes cx, cy, w, h in shares of the image's sides."""
    sides = np.array([width, height], dtype=np.float64)
    sizes = patches[..., 2:] / sides
    return np.concatenate([patches[..., :2] / sides + sizes / 2, sizes], axis=-1).astype(np.float32)
