"""Boxes cut from an image of bytes and resized to one size, with the triangle filter of Pillow (ours).

A box is cut first and then resized, so that nothing outside it is seen. The filter is antialiased: its
support is max(1, in / out) output pixels, with centres at half pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Shapes: M boxes, H x W pixels of the image, P x P pixels of a patch.


@torch.no_grad()  # type: ignore[untyped-decorator]
def crop_resize(image: Tensor, boxes: Tensor, size: int) -> Tensor:
    """The pixels in boxes of an image, each resized to a square.

    Args:
        image: (3, H, W) uint8.
        boxes: (M, 4) int64 x, y, width, height in pixels, inside the image and not empty.
        size: P, pixels of a side.

    Returns:
        (M, 3, P, P) float32 in 0..255, not rounded.
    """
    found = torch.empty(len(boxes), len(image), size, size, device=image.device)
    for place, (x, y, width, height) in enumerate(boxes.tolist()):
        cut = image[None, :, y : y + height, x : x + width].float()
        found[place] = F.interpolate(cut, (size, size), mode="bilinear", align_corners=False, antialias=True)[
            0
        ]
    return found
