"""The map of a frozen backbone for each picture, computed once and kept in memory (ours).

A frozen network says the same about the same pixels in each epoch. Where training only mirrors pictures of a
fixed size, there are four maps an image at most. Maps are of one picture without padding; beside the padding
of a batch they differ a little from the network's own.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from updetr.batches import Images, padded

# Shapes: B pictures, H x W pixels with padding, C channels of the last map, h x w its features.

MIB = 2**20  # bytes


class KeptMaps:
    """The last maps of pictures; those that were asked for before are not computed again.

    Args:
        backbone: (B, 3, H, W) to a tuple of maps; frozen.
        room: MiB of maps that are kept, on the device of the images.
    """

    def __init__(self, backbone: Any, room: int) -> None:
        self.backbone, self.room = backbone, room * MIB
        self._maps: dict[Hashable, Tensor] = {}

    def __call__(self, images: Images, keys: Sequence[Hashable | list[Any]]) -> tuple[Tensor, Tensor]:
        """The maps of a batch.

        Args:
            images: B pictures.
            keys: what tells each from all others, B of them; a tuple that came as a list counts as a tuple.

        Returns:
            (B, C, h, w) float maps, zero where a picture has no features; (B, h, w) bool where it has some.
        """
        return padded([self._map(images, row, _hashable(key)) for row, key in enumerate(keys)])

    @torch.no_grad()
    def _map(self, images: Images, row: int, key: Hashable) -> Tensor:
        """(C, h, w) of one picture."""
        if key in self._maps:
            return self._maps[key]
        height, width = (int(images.mask[row].any(axis).sum()) for axis in (1, 0))
        found: Tensor = self.backbone(images.pixels[row : row + 1, :, :height, :width])[-1][0]
        size = found.numel() * found.element_size()
        if size <= self.room:
            self.room -= size
            self._maps[key] = found.contiguous()
        return found


def _hashable(key: Hashable | list[Any]) -> Hashable:
    """Older releases of torch pin the memory of a tuple's parts, and give a list back."""
    return tuple(key) if isinstance(key, list) else key
