"""Images of a batch as they are stored: boxes are cut from them, and they are resized, on the device (ours).

Images that a process keeps in memory are copied to its device once.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from nonet.kernels.crop_resize import crop_resize, crop_resize_packed, pack_images

# Shapes: B images, M boxes an image, P x P pixels of what is cut, H x W pixels with padding.

LARGE = 2**20  # pixels; of larger images boxes are cut by the loader's process, not on the device


class Sources:
    """What the boxes of a batch are cut from.

    Args:
        images: B of (3, h, w) uint8.
        numbers: of those that are kept, None for others.
        kept: on the device, by number; new ones are put there. None: nothing is kept.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        numbers: Sequence[int | None] = (),
        kept: dict[int, Tensor] | None = None,
    ) -> None:
        self.images, self.numbers, self.kept = list(images), list(numbers), kept

    def to(self, device: Any, **options: Any) -> Self:
        """The same on a device."""
        if torch.device(device).type == "cpu" or not self.images:
            return self
        found = []
        for place, image in enumerate(self.images):
            number = self.numbers[place] if self.kept is not None else None
            if self.kept is None or number is None:
                found.append(image.to(device, **options))
                continue
            if number not in self.kept:
                self.kept[number] = image.to(device)
            found.append(self.kept[number])
        return type(self)(found, self.numbers, self.kept)

    def pin_memory(self) -> Self:
        """Pinned, but for images that are copied once only."""
        if self.kept is not None:
            return self
        return type(self)([image.pin_memory() for image in self.images], self.numbers)

    def cut(self, boxes: Tensor, size: int) -> Tensor:
        """What is in the boxes.

        Args:
            boxes: (B, M, 4) int64 x, y, width, height in pixels.
            size: P.

        Returns:
            (B, M, 3, P, P) uint8; on a CPU their channels lie side by side.
        """
        if self.images[0].is_cpu:
            pairs = zip(self.images, boxes, strict=True)
            rows = [crop_resize(image, boxes_M4, size).permute(0, 2, 3, 1) for image, boxes_M4 in pairs]
            return torch.stack(rows).permute(0, 1, 4, 2, 3)  # as they lie in memory
        return crop_resize_packed(pack_images(self.images), boxes, size)

    def resized(self, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The images, each at a size of its own.

        Args:
            sizes: (height, width) of each, pixels.

        Returns:
            B of (3, height, width) uint8.
        """
        if all(image.is_cpu for image in self.images):
            return [whole(image, size) for image, size in zip(self.images, sizes, strict=True)]
        groups: dict[tuple[int, int], list[int]] = {}
        for place, size in enumerate(sizes):
            groups.setdefault(size, []).append(place)
        found: list[Tensor] = [*self.images]
        for size, places in groups.items():
            part = Sources([self.images[place] for place in places])
            for place, image in zip(places, part._at(size), strict=True):
                found[place] = image
        return found

    def _at(self, size: tuple[int, int]) -> Tensor:
        """(B, 3, *size) uint8: all of them at one size, on a GPU."""
        packed = pack_images(self.images)
        boxes = torch.cat([torch.zeros_like(packed.sizes), packed.sizes.flip(1)], 1)
        return crop_resize_packed(packed, boxes[:, None], size)[:, 0]


def whole(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image (3, h, w) uint8 resized to (height, width)."""
    box = torch.tensor([[0, 0, image.shape[2], image.shape[1]]], device=image.device)
    return crop_resize(image, box, size)[0]


def cut_now(image: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The boxes of a large image, cut already, one below the other: an image to cut them from as they are.

    Args:
        image: (3, h, w) uint8.
        boxes: (M, 4) int64 x, y, width, height in pixels.
        size: P.

    Returns:
        (3, M P, P) uint8, and where the boxes are in it.
    """
    places = torch.tensor([[0, box * size, size, size] for box in range(len(boxes))])
    return crop_resize(image, boxes, size).transpose(0, 1).reshape(3, len(boxes) * size, size), places
