"""Where in the picture a feature lies, as sines and cosines of its row and column (Carion et al. 2020, A.4).

Rows and columns are counted over the valid part of a picture, so that padding moves nothing.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Shapes: B images, h x w features of a map, H x W pixels, d the size of a query.

TEMPERATURE = 10000  # the longest wave is so many times the shortest
TINY = 1e-6  # keeps rows of mere padding finite


def mask_of_map(mask_BHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Which features of a map lie in the image: the pixels' mask, sampled at the nearest pixel.

    Args:
        mask_BHW: (B, H, W) bool, True where there is an image.
        size: (h, w) of the map.

    Returns:
        (B, h, w) bool.
    """
    return F.interpolate(mask_BHW[:, None].float(), size=size)[:, 0].bool()


def sine_positions(mask_Bhw: Tensor, width: int) -> Tensor:
    """Positions of the features of a map; the first half of the numbers says the row, the second the column.

    With y in (0, 2 pi] the row's share of the image, number 2i of a half is sin(y / 10000^(2i / (d / 2))),
    number 2i + 1 the cosine.

    Args:
        mask_Bhw: (B, h, w) bool, True where there is an image.
        width: d, divisible by 4.

    Returns:
        (B, h, w, d) float32.
    """
    half = width // 2
    number = torch.arange(half, device=mask_Bhw.device)
    waves = TEMPERATURE ** (2 * (number // 2).float() / half)
    found = []
    for axis in (1, 2):
        counted = mask_Bhw.cumsum(axis, dtype=torch.float32)
        last = counted.narrow(axis, counted.shape[axis] - 1, 1)
        angle = (counted / (last + TINY) * (2 * math.pi))[..., None] / waves
        found.append(torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), -1).flatten(-2))
    return torch.cat(found, -1)
