"""Batches of regions for patch-text alignment: a crop around one of them, and the patches of all it holds.

The sample is that of X-VLM (Zeng et al. 2022), kept by COPA and TiMix: a random crop that leaves one region
whole, a flip, operations on colours only, and up to five texts: the image's caption, whose patches are all of
them, and regions of which the crop has more than half. A batch has an exact number of texts; images are
drawn until it is full (ours: the released code decoded several times as many and threw them away).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.batching import generator
from nonet.data.captions import tells_sides
from nonet.data.image_augment import CLIP_MEAN, CLIP_STD, as_input, mirrored, rand_augment
from nonet.errors import RunFailed, UserError
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.region_files import RegionTable
from nonet.vision_language.region_records import Box, Region

if TYPE_CHECKING:
    from PIL.Image import Image

# Shapes: R images, E texts of regions, N patches, L word pieces.

MAX_LENGTH = 40  # word pieces of a region's text with [CLS], in the released code
_OTHERS = 20  # images tried in a row that give nothing


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


class RegionBatches:
    """Batches of exactly so many texts; `batches[step]` is one, and depends on (seed, step, rank) alone.

    The images of an epoch stand in a random order that is cut into as many parts as there are batches. A
    part that does not fill its batch, as crops leave regions out, is followed by images at random; of one
    that overfills it the last texts are left out.

    Args:
        table: the regions.
        images: how images are made ready.
        tokenizer: of transformers, with a token to begin and to pad (BERT's kind).
        size: E, texts in a batch, over all ranks.
        seed: of the run.
        max_length: word pieces of a text with the one that begins it; nothing ends it, as released.
        rank: this process among `world`.
        world: processes that share a batch.

    Raises:
        UserError: the tokenizer lacks a token, or there are more processes than texts.
    """

    def __init__(
        self, table: RegionTable, images: RegionImages, tokenizer: Any, *, size: int = 64, seed: int = 0,
        max_length: int = MAX_LENGTH, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        if size < world or not 0 <= rank < world:
            raise UserError(f"a batch of {size} regions for {world} processes, of which this is {rank}")
        missing = [
            name for name in ("cls_token", "pad_token") if getattr(tokenizer, name + "_id", None) is None
        ]
        if missing:
            raise UserError(f"the tokenizer has no {', '.join(missing)}: take one of BERT's kind")
        if max_length < 2:
            raise UserError(f"max_length is {max_length}; a text begins with a token of its own: at least 2")
        self.table, self.images, self.tokenizer = table, images, tokenizer
        self.seed, self.max_length = seed, max_length
        self.size = size // world + (rank < size % world)
        self.rank, self.world = rank, world
        texts = np.diff(table.first) + (np.diff(table.first_caption) > 0)
        self._texts = np.minimum(texts, images.max_regions)
        self.epoch_steps = max(1, -(-int(self._texts.sum()) // size))
        self._order: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Batch number `step`, from 0 on, over all epochs.

        Keys:
            images: (R, 3, H, W) float32, normalised.
            of_image: (E,) int64 in 0..R-1, the image of each text.
            input_ids, attention_mask: (E, L) int64, padded to the longest.
            masks: (E, N) bool, the patches of each text.
            texts: E texts.
            ids: R places, such as `regions.jsonl:12`, for messages.
            unreadable: texts on images that could not be used, which others replaced.
            outside: regions left out as they lie outside of their image.
            truncated: texts that were longer than `max_length`.

        Raises:
            RunFailed: many images in a row cannot be used.
        """
        random = generator(self.seed, "regions", step, self.rank)
        queue = [int(index) for index in self._part(step)]
        items: list[RegionItem] = []
        failed: list[str] = []
        count = bad = 0
        while count < self.size:
            index = queue.pop(0) if queue else int(random.integers(len(self.table)))
            try:
                item = region_item(self.table, index, self.images, random)
            except UserError as error:
                failed.append(str(error))
                bad += 1
                if bad == _OTHERS:
                    raise RunFailed(f"{bad} images in a row cannot be used, the last one: {error}") from error
                continue
            bad = 0
            room = self.size - count
            items.append(item._replace(texts=item.texts[:room], masks=item.masks[:room]))
            count += len(items[-1].texts)
        texts = [text for item in items for text in item.texts]
        ids, mask, truncated = region_texts(self.tokenizer, texts, self.max_length)
        return {
            "images": torch.stack([item.image for item in items]),
            "of_image": torch.tensor([row for row, item in enumerate(items) for _ in item.texts]),
            "input_ids": ids,
            "attention_mask": mask,
            "masks": torch.cat([item.masks for item in items]),
            "texts": texts,
            "ids": [item.place for item in items],
            "unreadable": failed,
            "outside": sum(item.outside for item in items),
            "truncated": truncated,
        }

    def _part(self, step: int) -> NDArray[np.int64]:
        """The images whose turn it is: those whose first text falls into this rank's share of the epoch."""
        epoch, number = divmod(step, self.epoch_steps)
        if self._order is None or self._order[0] != epoch:
            order = generator(self.seed, "region order", epoch).permutation(len(self.table))
            begins = np.concatenate([[0], self._texts[order].cumsum()[:-1]])
            self._order = epoch, order, begins
        _, order, begins = self._order
        total = int(self._texts.sum())
        parts = self.epoch_steps * self.world
        mine = number * self.world + self.rank
        low, high = np.searchsorted(begins, [mine * total / parts, (mine + 1) * total / parts])
        part: NDArray[np.int64] = order[low:high]
        return part


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


def region_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor, int]:
    """Texts to padded word pieces that begin with [CLS] and do not end with [SEP].

    Args:
        tokenizer: of transformers.
        texts: E of them, at least one.
        max_length: word pieces with [CLS].

    Returns:
        (E, L) int64 ids, (E, L) int64 mask, and how many texts were too long.
    """
    pieces = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    rows = [[tokenizer.cls_token_id, *own[: max_length - 1]] for own in pieces]
    ids = torch.full((len(rows), max(map(len, rows))), tokenizer.pad_token_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(rows):
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, : len(own)] = 1
    return ids, mask, sum(len(own) > max_length - 1 for own in pieces)


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
