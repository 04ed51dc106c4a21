"""One visit of an image with regions: a crop around one of them, and the patches of all that it holds.

The sample is that of X-VLM (Zeng et al. 2022), kept by COPA and TiMix: a random crop that leaves one region
whole, a flip, operations on colours only, and up to five texts: the image's caption, whose patches are all of
them, and regions of which the crop has more than half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.captions import tells_sides
from nonet.data.image_augment import CLIP_MEAN, CLIP_STD, as_input, mirrored, rand_augment
from nonet.errors import UserError
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.region_files import RegionTable
from nonet.vision_language.region_records import Box, Region

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: n texts of an image, N patches.


@dataclass(frozen=True, kw_only=True)
class RegionImages:
    """How an image with regions is made ready.

    Attributes:
        height: of the result, pixels; whole patches.
        width: of the result, pixels; whole patches.
        patch: side of a patch, pixels.
        max_regions: texts of one image at most, its caption among them.
        min_visible: share of a region's area that a crop must have, at least, for its text to count.
        flip: probability of the mirror image; none where a text says left or right.
        operations: on colours, drawn with repetition; each is applied with probability 1/2.
        magnitude: of them, 0..10.
        mean: of red, green and blue in 0..1, taken off.
        deviation: that they are divided by.
    """

    height: int
    width: int
    patch: int
    max_regions: int = 5
    min_visible: float = 0.5
    flip: float = 0.5
    operations: int = 2
    magnitude: float = 7
    mean: Sequence[float] = CLIP_MEAN
    deviation: Sequence[float] = CLIP_STD

    def __post_init__(self) -> None:
        if self.height % self.patch or self.width % self.patch or min(self.height, self.width) < self.patch:
            raise UserError(
                f"images of {self.height} x {self.width} pixels are not whole patches of {self.patch}"
            )
        if self.max_regions < 1 or not 0 <= self.min_visible < 1:
            raise UserError(
                f"max_regions is {self.max_regions}, min_visible {self.min_visible:g}; at least 1, and 0 <= "
                "min_visible < 1"
            )
        if not 0 <= self.flip <= 1:
            raise UserError(f"flip is {self.flip:g}; a probability")


class RegionItem(NamedTuple):
    """One visit of an image with regions.

    Attributes:
        image: (3, H, W) float32, normalised.
        texts: n of them, at least one.
        masks: (n, N) bool, the patches of each.
        place: file and line.
        outside: regions that lie outside of the image, more than the share that may.
    """

    image: Tensor
    texts: list[str]
    masks: Tensor
    place: str
    outside: int


def region_item(
    table: RegionTable, index: int, images: RegionImages, random: np.random.Generator
) -> RegionItem:
    """One visit of an image.

    Args:
        table: the regions.
        index: of the image.
        images: how it is made ready.
        random: what is drawn.

    Raises:
        UserError: the image cannot be read, or none of its texts can be used.
    """
    image = table.open(index)
    width, height = image.size
    inside = [
        region._replace(boxes=boxes)
        for region in table.regions(index)
        if (boxes := visible(region.boxes, (0, 0, width, height), images.min_visible))
    ]
    outside = int(table.first[index + 1] - table.first[index]) - len(inside)
    captions = table.captions_of(index)
    if not inside and not captions:
        raise UserError(f"{table.places[index]}: all regions lie outside of {width} x {height} pixels")
    crop = (0, 0, width, height)
    if inside:
        crop = crop_around(inside[int(random.integers(len(inside)))].boxes, width, height, random)
    texts = [captions[int(random.integers(len(captions)))]] if captions else []
    held: list[tuple[Box, ...]] = [(crop_box(crop),)] if captions else []
    for number in random.permutation(len(inside)):
        if len(texts) == images.max_regions:
            break
        seen = visible(inside[number].boxes, crop_box(crop), images.min_visible)
        if seen:
            texts.append(region_text(inside[number], random))
            held.append(seen)
    flat = np.array([box for own in held for box in own])
    picture, moved = _ready(image, crop, flat, images, random, not any(map(tells_sides, texts)))
    each = rasterise(moved, (images.height, images.width), images.patch)
    masks = torch.stack([part.any(0) for part in each.split([len(own) for own in held])])
    return RegionItem(picture, texts, masks, table.places[index], outside)


def region_text(region: Region, random: np.random.Generator) -> str:
    """One of a region's texts, behind one of its attributes if it has any."""
    text = region.texts[int(random.integers(len(region.texts)))]
    if not region.attributes:
        return text
    return f"{region.attributes[int(random.integers(len(region.attributes)))]} {text}"


def crop_around(
    boxes: Sequence[Box], width: int, height: int, random: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random crop that leaves boxes whole: each side anywhere between them and the image's edge.

    Args:
        boxes: xywh in pixels, inside the image.
        width: of the image, pixels.
        height: of the image, pixels.
        random: gives four numbers.

    Returns:
        (left, top, right, bottom), whole pixels, right and bottom exclusive.
    """
    edges = np.array(boxes)
    x, y = edges[:, :2].min(0)
    end_x, end_y = np.ceil((edges[:, :2] + edges[:, 2:]).max(0))
    left, top = int(random.integers(int(x) + 1)), int(random.integers(int(y) + 1))
    right = int(random.integers(min(int(end_x), width), width + 1))
    bottom = int(random.integers(min(int(end_y), height), height + 1))
    return left, top, right, bottom


def visible(boxes: Sequence[Box], view: Box, least: float) -> tuple[Box, ...]:
    """Boxes clipped to a view, or none if no more than a share `least` of their area is in it; xywh all."""
    whole, found = 0.0, []
    for x, y, w, h in boxes:
        left, top = max(x, view[0]), max(y, view[1])
        right, bottom = min(x + w, view[0] + view[2]), min(y + h, view[1] + view[3])
        whole += w * h
        if right > left and bottom > top:
            found.append((left, top, right - left, bottom - top))
    return tuple(found) if sum(w * h for _, _, w, h in found) > least * whole else ()


def crop_box(crop: tuple[int, int, int, int]) -> Box:
    """A crop's corners as a box xywh."""
    left, top, right, bottom = crop
    return left, top, right - left, bottom - top


def moved_boxes(
    boxes: NDArray[np.float64], crop: tuple[int, int, int, int], size: tuple[int, int], mirror: bool
) -> NDArray[np.float64]:
    """Boxes after a crop, a mirror and a resize.

    Args:
        boxes: (n, 4) xywh in pixels of the image.
        crop: left, top, right, bottom.
        size: height and width of the result, pixels.
        mirror: whether left and right were exchanged.

    Returns:
        (n, 4) xywh in pixels of the result.
    """
    left, top, right, bottom = crop
    found = boxes - np.array([left, top, 0, 0])
    if mirror:
        found[:, 0] = (right - left) - found[:, 0] - found[:, 2]
    across, down = size[1] / (right - left), size[0] / (bottom - top)
    scaled: NDArray[np.float64] = found * np.array([across, down, across, down])
    return scaled


def _ready(
    image: "Image", crop: tuple[int, int, int, int], boxes: NDArray[np.float64], images: RegionImages,
    random: np.random.Generator, may_flip: bool,
) -> tuple[Tensor, NDArray[np.float64]]:  # fmt: skip
    """The picture as the model sees it, and boxes in its pixels."""
    from PIL.Image import Resampling

    mirror = bool(random.random() < images.flip) and may_flip
    image = image.crop(crop).resize((images.width, images.height), Resampling.BICUBIC)
    if mirror:
        image = mirrored(image)
    image = rand_augment(image, random, images.operations, images.magnitude, colour_only=True)
    moved = moved_boxes(boxes, crop, (images.height, images.width), mirror)
    return as_input(image, images.mean, images.deviation), moved
