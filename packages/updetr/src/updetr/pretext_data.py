"""Images without labels, each with patches to find in it (Dai et al. 2021, section 3.1; released code).

A loader's process decodes an image, draws what is to be drawn and resizes it; patches are cut from the image
as it is stored, and augmented, where the batch is used: on the device. All random numbers are functions of
(seed, epoch, index), so that an item is the same for any number of workers, processes and devices.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.images import MAX_PIXELS, fitted, normalise, open_image, to_uint8
from nonet.errors import RunFailed, UserError
from nonet.kernels.crop_resize import crop_resize
from nonet.kernels.patch_augment import Draws, draw_augmentations, patch_augment
from updetr.batches import Images, Targets
from updetr.feature_cache import FeatureCache
from updetr.patch_sampling import MARGIN, has_patches, patches_of, relative_boxes

# Shapes: B images, M patches an image, P x P pixels of a patch, H x W pixels with padding.

SCALES = tuple(range(320, 481, 16))  # pixels of an image's shorter side, as in the released code
LONGEST = 600  # pixels of its longer side at most
LARGE = 2**20  # pixels; of larger images patches are cut by the loader's process, not on the device
_ATTEMPTS = 32  # other images that are tried in the place of one that cannot be used


class Note(NamedTuple):
    """What is to be said about a file: that it was left out, or how it was read."""

    file: str
    text: str
    skipped: bool


class PretextItem(NamedTuple):
    """One image and its patches.

    Attributes:
        file: the image's.
        row: (epoch, index) that was asked for.
        image: (3, h, w) uint8, resized; or its features from a cache, (C, h, w) float16.
        source: (3, H, W) uint8 that the patches are cut from.
        crops: (M, 4) int64 x, y, width, height in pixels of `source`.
        boxes: (M, 4) float32 cxcywh in 0..1.
        draws: of the augmentation.
        notes: what is to be said.
    """

    file: str
    row: Pair
    image: Tensor
    source: Tensor
    crops: Tensor
    boxes: Tensor
    draws: Draws
    notes: tuple[Note, ...]


class Pretext(NamedTuple):
    """A batch as the model takes it.

    Attributes:
        images: the images, or None where there are maps.
        maps: (B, C, h, w) float32 features of the backbone and their mask, from a cache, or None.
        patches: (B, M, 3, P, P) float32, augmented and normalised.
        targets: the patches' boxes, label 0, each of its own group.
    """

    images: Images | None
    maps: Images | None
    patches: Tensor
    targets: Targets


class PretextData:
    """`data[(epoch, index)]` is an image, its patches and their boxes.

    Args:
        images: the files; one that cannot be used is replaced by another, drawn at random, and noted.
        seed: the run's.
        num_patches: M, patches of an image.
        patch_size: P, pixels of a patch's side as the backbone sees it.
        min_patch: least side of a random patch, in pixels of the stored image, or below 1 as a share.
        targets: for each image (n, 4) boxes x, y, width, height in pixels as they are stored, of which M are
            drawn; where there are fewer, random patches are added. Without them all patches are random.
        scales: shorter sides of an image, pixels; one is drawn.
        longest: longer side at most, pixels.
        max_pixels: of an image as it is stored.
        cache: features of these images at these scales, which then stand for the resized images.
    """

    def __init__(
        self,
        images: Sequence[Path],
        *,
        seed: int,
        num_patches: int = 10,
        patch_size: int = 128,
        min_patch: float = MARGIN,
        targets: Sequence[NDArray[np.float64]] | None = None,
        scales: Sequence[int] = SCALES,
        longest: int = LONGEST,
        max_pixels: int = MAX_PIXELS,
        cache: FeatureCache | None = None,
    ) -> None:
        if targets is not None and len(targets) != len(images):
            raise ValueError(f"targets of {len(targets)} images for {len(images)}")
        self.images, self.seed, self.targets, self.cache = list(images), seed, targets, cache
        self.num_patches, self.patch_size, self.min_patch = num_patches, patch_size, min_patch
        self.scales, self.longest, self.max_pixels = tuple(scales), longest, max_pixels
        self.numbers = range(len(self.images))

    def __len__(self) -> int:
        return len(self.numbers)

    def subset(self, numbers: Sequence[int]) -> "PretextData":
        """Those images alone, each with the random numbers that it has here."""
        part = copy(self)
        part.numbers = [self.numbers[number] for number in numbers]  # type: ignore[assignment]
        return part

    def with_cache(self, cache: FeatureCache) -> "PretextData":
        """The same with features in the place of images; those that have none are left out."""
        part = self.subset([place for place, number in enumerate(self.numbers) if cache.has(number)])
        part.cache = cache
        return part

    def __getitem__(self, row: Pair) -> PretextItem:
        """The item of (epoch, index).

        Raises:
            RunFailed: neither this image nor any of 32 others can be used.
        """
        epoch, index = row[0], self.numbers[row[1]]
        notes: list[Note] = []
        for number in (index, *self._others(epoch, index)):
            path = self.images[number]
            try:
                return self._item(path, number, row, (epoch, index), notes)
            except UserError as error:
                notes.append(Note(str(path), str(error).removeprefix(f"{path}: "), True))
        raise RunFailed(f"{notes[0].file} and {_ATTEMPTS} other images cannot be used: {notes[0].text}")

    def _others(self, epoch: int, index: int) -> Any:
        random = generator(self.seed, "instead", epoch, index)
        return (self.numbers[place] for place in random.integers(len(self.numbers), size=_ATTEMPTS))

    def _item(self, path: Path, number: int, row: Pair, key: Pair, notes: list[Note]) -> PretextItem:
        heard: list[str] = []
        picture = open_image(
            path, max_pixels=self.max_pixels, orient=self.targets is None, remark=heard.append
        )
        width, height = picture.size
        if not has_patches(width, height, self.min_patch):
            raise UserError(f"{path}: {width} x {height} px are too few for patches of {self.min_patch:g} px")
        random = generator(self.seed, "pretext", *key)
        scale = int(random.integers(len(self.scales)))
        draws = draw_augmentations(random, self.num_patches)
        crops = self._crops(number, key, width, height)
        boxes = torch.from_numpy(relative_boxes(crops, width, height))
        if self.cache is not None:
            image = self.cache.features(number, scale)
        else:
            image = to_uint8(fitted(picture, self.scales[scale], self.longest))
        source, places = to_uint8(picture), torch.from_numpy(crops)
        if width * height > LARGE:
            source, places = self._mosaic(source, places)
        notes.extend(Note(str(path), text.removeprefix(f"{path}: "), False) for text in heard)
        return PretextItem(str(path), row, image, source, places, boxes, draws, tuple(notes))

    def _crops(self, number: int, key: Pair, width: int, height: int) -> NDArray[np.int64]:
        """(M, 4) x, y, width, height in pixels."""
        patches = patches_of(self.seed, *key, width, height, self.num_patches, least=self.min_patch)
        if self.targets is None:
            return patches
        given = whole_pixels(self.targets[number], width, height)
        chosen = generator(self.seed, "targets", *key).permutation(len(given))[: self.num_patches]
        patches[: len(chosen)] = given[chosen]
        return patches

    def _mosaic(self, source: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
        """The patches, cut already, one below the other: a source from which they are cut as they are."""
        size, count = self.patch_size, len(crops)
        cut = crop_resize(source, crops, size).round().clamp(0, 255).to(torch.uint8)
        places = torch.tensor([[0, patch * size, size, size] for patch in range(count)])
        return cut.transpose(0, 1).reshape(3, count * size, size).contiguous(), places


def whole_pixels(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.int64]:
    """Boxes x, y, width, height in whole pixels inside the image; those below 2 px are left out."""
    low = np.clip(np.floor(boxes[:, :2]), 0, [width, height])
    high = np.clip(np.ceil(boxes[:, :2] + boxes[:, 2:]), 0, [width, height])
    found = np.concatenate([low, high - low], axis=1).astype(np.int64)
    return found[(found[:, 2:] >= 2).all(1)]


def collate(items: Sequence[PretextItem]) -> dict[str, Any]:
    """Items to a batch: images padded at the right and the bottom, still as bytes.

    Returns:
        `ids`: the files; `rows`: (B, 2) int64 epoch and index; `pixels`: (B, 3, H, W) uint8, or `features`:
        (B, C, h, w) float16; `mask`: (B, H, W) bool; `sources`: B images (3, h, w) uint8; `crops`: (B, M, 4)
        int64; `boxes`: (B, M, 4) float32; `draws`: of the augmentation; `notes`: a list of `Note`.
    """
    first = items[0].image
    heights, widths = (max(item.image.shape[side] for item in items) for side in (1, 2))
    padded = torch.zeros(len(items), len(first), heights, widths, dtype=first.dtype)
    mask = torch.zeros(len(items), heights, widths, dtype=torch.bool)
    for place, item in enumerate(items):
        _, height, width = item.image.shape
        padded[place, :, :height, :width] = item.image
        mask[place, :height, :width] = True
    return {
        "ids": [item.file for item in items],
        "rows": torch.tensor([item.row for item in items]),
        "pixels" if first.dtype == torch.uint8 else "features": padded,
        "mask": mask,
        "sources": [item.source for item in items],
        "crops": torch.stack([item.crops for item in items]),
        "boxes": torch.stack([item.boxes for item in items]),
        "draws": Draws(*(torch.cat(parts) for parts in zip(*(item.draws for item in items), strict=True))),
        "notes": [note for item in items for note in item.notes],
    }


@torch.no_grad()
def prepare(batch: dict[str, Any], patch_size: int, *, augment: bool = True) -> Pretext:
    """Cut and augment a batch's patches, and normalise its images, where the batch is.

    Args:
        batch: of `collate`, on a device.
        patch_size: P, pixels of a patch's side.
        augment: jitter, grey and blur patches as they were drawn; else they are as in the image.
    """
    crops, boxes, mask = batch["crops"], batch["boxes"], batch["mask"]
    count, each = crops.shape[:2]
    cut = torch.cat(
        [
            crop_resize(source, places, patch_size)
            for source, places in zip(batch["sources"], crops, strict=True)
        ]
    )
    patches = patch_augment(cut, batch["draws"]) if augment else normalise(cut / 255)
    targets = Targets(
        labels=torch.zeros(count * each, dtype=torch.int64, device=boxes.device),
        boxes=boxes.flatten(0, 1),
        counts=[each] * count,
        groups=torch.arange(each, device=boxes.device).repeat(count),
    )
    images = maps = None
    if "features" in batch:
        maps = Images(batch["features"].float(), mask)
    else:
        images = Images(normalise(batch["pixels"]) * mask[:, None], mask)
    return Pretext(images, maps, patches.unflatten(0, (count, each)), targets)
