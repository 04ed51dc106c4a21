"""What goes into a detector, what comes out, and what is compared with it (ours).

Boxes are cxcywh in shares of the image's sides (without the padding), unless a name says otherwise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Shapes: B images, H x W pixels with padding, L decoder layers, N queries, K classes, T true boxes over the
# whole batch, M patches an image, P x P pixels of a patch, C channels of the backbone's last map.


class Images(NamedTuple):
    """A batch of images, padded at the right and the bottom.

    Attributes:
        pixels: (B, 3, H, W) float32, normalised with ImageNet's mean and deviation; padding is 0.
        mask: (B, H, W) bool, True where there is an image.
    """

    pixels: Tensor
    mask: Tensor


class Targets(NamedTuple):
    """The true boxes of a batch, those of image 0 first.

    Attributes:
        labels: (T,) int64 in 0..K-1.
        boxes: (T, 4) float32, cxcywh in 0..1.
        counts: true boxes of each image, B numbers that add up to T.
        features: (T, C) float32: what the reconstruction head of a matched query shall say, or None.
        groups: (T,) int64: the patch, and so the group of queries, that each box belongs to, or None.
    """

    labels: Tensor
    boxes: Tensor
    counts: list[int]
    features: Tensor | None = None
    groups: Tensor | None = None


class Outputs(NamedTuple):
    """What a detector says, layer by layer; the last layer's are its answer.

    Attributes:
        logits: (L, B, N, K + 1) float, last no object; (L, B, N, K) for detectors with sigmoid classes.
        boxes: (L, B, N, 4) float, cxcywh in 0..1.
        features: (L, B, N, C) float reconstructed patch features, or None.
    """

    logits: Tensor
    boxes: Tensor
    features: Tensor | None = None


def padded(pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pictures or maps (C, h, w) in one tensor, with zeros at the right and the bottom, and where they are.

    Returns:
        (B, C, H, W) of their dtype; (B, H, W) bool.
    """
    height, width = (max(picture.shape[side] for picture in pictures) for side in (1, 2))
    found = pictures[0].new_zeros(len(pictures), len(pictures[0]), height, width)
    mask = torch.zeros(len(pictures), height, width, dtype=torch.bool, device=found.device)
    for place, picture in enumerate(pictures):
        found[place, :, : picture.shape[1], : picture.shape[2]] = picture
        mask[place, : picture.shape[1], : picture.shape[2]] = True
    return found, mask
