"""Images of bytes in one batch, normalised, with zeros beside them (ours).

On a CPU, where numba is installed, one pass reads the bytes and writes the batch, zeros too. Else images are
put into one tensor of bytes first: few launches on a GPU. Both forms give the same bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nonet.kernels.dispatch import compiled_form
from nonet.kernels.patch_augment import DEVIATION, MEAN

# Shapes: B images, h x w pixels of one of them, H x W pixels of the highest and the widest.


def normalise_padded(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Images with ImageNet's mean and deviation, padded at the right and the bottom, and where they are.

    Args:
        images: B of (3, h, w) uint8, at least one, on one device.

    Returns:
        (B, 3, H, W) float32, 0 beside the images; (B, H, W) bool, True where they are.

    Raises:
        ValueError: there are none, or one is of another form.
    """
    if not images:
        raise ValueError("no images to make a batch of")
    for image in images:
        if image.dim() != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
            raise ValueError(f"an image of {tuple(image.shape)} {image.dtype}; (3, h, w) uint8 is needed")
    sizes = [tuple(image.shape[1:]) for image in images]
    height, width = (max(size[side] for size in sizes) for side in (0, 1))
    mask = torch.zeros(len(images), height, width, dtype=torch.bool, device=images[0].device)
    for place, (h, w) in enumerate(sizes):
        mask[place, :h, :w] = True
    deviation = torch.tensor(DEVIATION)
    scale, less = 1 / (255 * deviation), torch.tensor(MEAN) / deviation
    if compiled_form(images[0]):
        from nonet.kernels.normalise_padded_compiled import normalise_into

        found = torch.empty(len(images), 3, height, width)
        normalise_into(found, images, scale, less)
        return found, mask
    pixels = images[0].new_zeros(len(images), 3, height, width)
    for place, (h, w) in enumerate(sizes):
        pixels[place, :, :h, :w] = images[place]
    scale, less = (numbers.to(pixels.device)[:, None, None] for numbers in (scale, less))
    return pixels.float().mul_(scale).sub_(less).masked_fill_(~mask[:, None], 0), mask
