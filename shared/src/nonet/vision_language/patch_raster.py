"""Boxes to labels of patches: a patch is one of a box's if they overlap, however little.

The rule of the region data in the code released with TiMix (Jiang et al. 2024): columns from floor(x / P) to
ceil((x + w) / P), rows alike. Boxes that leave the image are clipped here; there they were trusted.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

# Shapes: n boxes, N = rows x columns patches, row by row.

ROUNDING = 1e-6  # pixels: an edge that a flip or a resize left so close to a border of patches is on it


def rasterise(boxes: ArrayLike | Tensor, image: int | tuple[int, int], patch: int) -> Tensor:
    """Which patches each box overlaps.

    At 256 pixels in patches of 16, (15, 0, 2, 1) has patches 0 and 1, and (16, 16, 16, 16) has 17 only.

    Args:
        boxes: (n, 4) xywh in pixels of the image as the model sees it.
        image: side of a square image, or height and width, pixels; whole patches.
        patch: side of a patch, pixels.

    Returns:
        (n, N) bool, at least one patch a box.

    Raises:
        ValueError: the image is not whole patches, or a box is not finite or has no area in the image.
    """
    height, width = (image, image) if isinstance(image, int) else image
    if patch < 1 or height < patch or width < patch or height % patch or width % patch:
        raise ValueError(f"an image of {height} x {width} pixels is not whole patches of {patch}")
    rows, columns = height // patch, width // patch
    values = np.asarray(boxes.cpu() if isinstance(boxes, Tensor) else boxes, np.float64).reshape(-1, 4)
    edges = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1)
    clipped = np.clip(edges, 0, [width, height, width, height])
    bad = ~np.isfinite(values).all(1) | ~((clipped[:, 2:] > clipped[:, :2]).all(1))
    if bad.any():
        number = int(bad.argmax())
        text = ", ".join(f"{side:g}" for side in values[number])
        raise ValueError(f"box {number}, xywh ({text}), has no area in an image of {width} x {height} pixels")
    across = _covered(clipped[:, 0], clipped[:, 2], columns, patch)
    down = _covered(clipped[:, 1], clipped[:, 3], rows, patch)
    return torch.from_numpy((down[:, :, None] & across[:, None, :]).reshape(-1, rows * columns))


def _covered(
    low: NDArray[np.float64], high: NDArray[np.float64], count: int, patch: int
) -> NDArray[np.bool_]:
    """(n, count): which of `count` patches lie between two edges, one at least."""
    first = np.minimum(np.floor((low + ROUNDING) / patch), count - 1)
    end = np.maximum(first + 1, np.ceil((high - ROUNDING) / patch))
    places = np.arange(count)
    found: NDArray[np.bool_] = (places >= first[:, None]) & (places < end[:, None])
    return found
