"""The released way of mixing, told again in our words: images and maps unfolded, mixed by indices, folded.

Source: the repository of the paper, `TPMix.py`, as to what is computed and in which order; no line is copied,
and `.cuda()` is left out. All k^2 scores of every window are laid out and added, and the images pass through
`unfold` and `fold` as patches. `cutmix` is timm's own.
"""

from typing import Any

import torch
from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional as F


def plain_mix(images: Tensor, scores: Tensor, k: int) -> Tensor:
    """Each image with its least window replaced by the greatest of its mirror in the batch.

    Args:
        images: (B, 3, H, H) float.
        scores: (B, G, G) float.
        k: side of a window in patches.
    """
    count, grid = len(images), scores.shape[-1]
    patch, size = images.shape[-1] // grid, images.shape[-1]
    patches = F.unfold(images, patch, stride=patch).transpose(1, 2)  # B, G^2, 3 P^2
    mirrored = patches.flip(0)
    sums = F.unfold(scores[:, None], (k, k)).sum(1)
    numbers = torch.arange(grid * grid, device=images.device, dtype=torch.float32)
    members = F.unfold(numbers.view(1, 1, grid, grid), (k, k))[0].T.long()  # windows, k^2
    offsets = torch.arange(count, device=images.device)[:, None] * grid * grid
    to = (members[sums.argmin(1)] + offsets).flatten()
    source = (members[sums.argmax(1)].flip(0) + offsets).flatten()
    flat, other = patches.reshape(count * grid * grid, -1), mirrored.reshape(count * grid * grid, -1)
    flat[to] = other[source]
    return F.fold(flat.view(count, grid * grid, -1).transpose(1, 2), size, patch, stride=patch)


def timm_cutmix(count: int) -> Any:
    """CutMix of timm, with one rectangle a batch, for images and numbers of texts; changes its input."""
    return Mixup(mixup_alpha=0.0, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=count)
