"""Flips, crops and sizes of an image together with its boxes (Carion et al. 2020, section 4, released code).

Boxes are float64 xyxy in pixels of the image beside them until the end. A box that a crop leaves without area
is dropped, with its class; what is left of the others is kept, however little. Each draw comes from the
generator that is handed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.images import fitted_size

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: n boxes of an image.

Random = np.random.Generator


class Sample(NamedTuple):
    """An image and its boxes.

    Attributes:
        image: RGB.
        boxes: (n, 4) float64 xyxy in pixels of `image`.
        labels: (n,) int64.
    """

    image: "Image"
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is drawn anew for an image each time it is trained on; DETR's by default."""

    scales: Sequence[int] = tuple(range(480, 801, 32))
    """shorter side, pixels; one is drawn"""
    longest: int = 1333
    """longer side at most, pixels"""
    crop: float = 0.5
    """share of images that are resized to a crop scale, then cropped, before they are resized"""
    crop_scales: Sequence[int] = (400, 500, 600)
    """shorter side before the crop, pixels"""
    crop_sides: tuple[int, int] = (384, 600)
    """least and greatest side of a crop, pixels; a smaller image limits both"""
    flip: float = 0.5
    """share of images that are mirrored left to right"""
    flip_vertical: float = 0.0
    """share of images that are mirrored top to bottom, for images without an upright"""

    def __call__(self, sample: Sample, random: Random) -> Sample:
        """The image as it is trained on this time."""
        if self.crop and random.random() < self.crop:
            sample = resized(sample, int(random.choice(self.crop_scales)), None)
            sample = cropped(sample, draw_crop(sample.image.size, self.crop_sides, random))
        sample = resized(sample, self.drawn_scale(random), self.longest)
        return turned(sample, self.drawn_turns(random))

    def drawn_scale(self, random: Random) -> int:
        """The shorter side for this time, pixels."""
        return int(random.choice(self.scales))

    def drawn_turns(self, random: Random) -> tuple[bool, bool]:
        """Whether the image is mirrored this time: left to right, and top to bottom."""
        across = bool(self.flip and random.random() < self.flip)
        return across, bool(self.flip_vertical and random.random() < self.flip_vertical)


def turned(sample: Sample, turns: tuple[bool, bool]) -> Sample:
    """Mirrored left to right, and top to bottom, where `turns` say so."""
    for vertical, turn in enumerate(turns):
        sample = mirrored(sample, vertical=bool(vertical)) if turn else sample
    return sample


def mirrored(sample: Sample, *, vertical: bool = False) -> Sample:
    """Left becomes right, or top becomes bottom."""
    from PIL.Image import Transpose

    image, axis = sample.image, int(vertical)
    turn = Transpose.FLIP_TOP_BOTTOM if vertical else Transpose.FLIP_LEFT_RIGHT
    boxes = sample.boxes.copy()
    boxes[:, axis] = image.size[axis] - sample.boxes[:, axis + 2]
    boxes[:, axis + 2] = image.size[axis] - sample.boxes[:, axis]
    return Sample(image.transpose(turn), boxes, sample.labels)


def resized(sample: Sample, short: int, longest: int | None) -> Sample:
    """The shorter side becomes `short` pixels, the longer one `longest` at most; bilinear, antialiased."""
    from PIL.Image import Resampling

    width, height = sample.image.size
    size = fitted_size(width, height, short, longest)
    image = sample.image if size == (width, height) else sample.image.resize(size, Resampling.BILINEAR)
    factors = np.array([size[0] / width, size[1] / height] * 2)
    return Sample(image, sample.boxes * factors, sample.labels)


def draw_crop(size: tuple[int, int], sides: tuple[int, int], random: Random) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a crop whose sides are drawn apart, pixels.

    Args:
        size: (width, height) of the image.
        sides: the least and the greatest side.
        random: draws.
    """
    width, height = (int(random.integers(min(sides[0], side), min(sides[1], side) + 1)) for side in size)
    left, top = int(random.integers(size[0] - width + 1)), int(random.integers(size[1] - height + 1))
    return left, top, left + width, top + height


def cropped(sample: Sample, window: tuple[int, int, int, int]) -> Sample:
    """What lies in the window; boxes are clipped to it, and those without area dropped."""
    left, top, right, bottom = window
    boxes = sample.boxes - np.array([left, top, left, top])
    boxes = np.clip(boxes, 0, np.array([right - left, bottom - top] * 2))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return Sample(sample.image.crop(window), boxes[kept], sample.labels[kept])


def shares(sample: Sample) -> NDArray[np.float32]:
    """(n, 4) float32 cxcywh boxes in shares of the image's sides."""
    boxes = sample.boxes / np.array([*sample.image.size, *sample.image.size])
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([centre, size], 1).astype(np.float32)
