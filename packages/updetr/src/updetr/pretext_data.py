"""Images without labels, each with patches to find in it (Dai et al. 2021, section 3.1; released code).

A loader's process decodes an image and draws what is to be drawn; where the batch is used, on the device, the
image is resized, and patches are cut from it as it is stored, and augmented. All random numbers follow
from (seed, epoch, index), so that an item is the same for any number of workers, processes and devices.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.images import MAX_PIXELS, fitted_size, normalise
from nonet.errors import UserError
from nonet.kernels.normalise_padded import normalise_padded
from nonet.kernels.patch_augment import Draws, draw_augmentations, patch_augment
from updetr.batches import Images, Targets, padded
from updetr.feature_cache import FeatureCache
from updetr.image_rows import ImageRows, Note
from updetr.image_sources import LARGE, Sources, cut_now, whole
from updetr.patch_sampling import MARGIN, has_patches, patches_of, relative_boxes

# Shapes: B images, M patches an image, P x P pixels of a patch, H x W pixels with padding.

SCALES = tuple(range(320, 481, 16))  # pixels of an image's shorter side, as in the released code
LONGEST = 600  # pixels of its longer side at most


class PretextItem(NamedTuple):
    """One image and its patches.

    Attributes:
        file: the image's.
        number: of the image.
        row: (epoch, index) that was asked for.
        source: (3, H, W) uint8 that the patches are cut from.
        size: (height, width) to which the image is resized.
        image: (3, height, width) uint8, where `source` is not the image; its features from a cache, (C, h, w)
            float16; or None.
        crops: (M, 4) int64 x, y, width, height in pixels of `source`.
        boxes: (M, 4) float32 cxcywh in 0..1.
        draws: of the augmentation.
        notes: what is to be said.
    """

    file: str
    number: int
    row: Pair
    source: Tensor
    size: tuple[int, int]
    image: Tensor | None
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


class PretextData(ImageRows[PretextItem]):
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
        keep: MiB of decoded images that are kept in memory.
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
        keep: int = 0,
        cache: FeatureCache | None = None,
    ) -> None:
        if targets is not None and len(targets) != len(images):
            raise ValueError(f"targets of {len(targets)} images for {len(images)}")
        super().__init__(images, seed=seed, orient=targets is None, max_pixels=max_pixels, keep=keep)
        self.targets, self.cache = targets, cache
        self.num_patches, self.patch_size, self.min_patch = num_patches, patch_size, min_patch
        self.scales, self.longest = tuple(scales), longest

    def with_cache(self, cache: FeatureCache) -> "PretextData":
        """The same with features in the place of images; those that have none are left out."""
        part = self.subset([place for place, number in enumerate(self.numbers) if cache.has(number)])
        part.cache = cache
        return part

    def item(self, number: int, row: Pair, key: Pair, notes: list[Note]) -> PretextItem:
        """See `ImageRows`."""
        path, image = self.images[number], None
        source = self.pixels(number, notes)
        height, width = source.shape[1:]
        if not has_patches(width, height, self.min_patch):
            raise UserError(f"{path}: {width} x {height} px are too few for patches of {self.min_patch:g} px")
        random = generator(self.seed, "pretext", *key)
        scale = int(random.integers(len(self.scales)))
        draws = draw_augmentations(random, self.num_patches)
        crops = self._crops(number, key, width, height)
        boxes = torch.from_numpy(relative_boxes(crops, width, height))
        size = fitted_size(width, height, self.scales[scale], self.longest)[::-1]
        places = torch.from_numpy(crops)
        if self.cache is not None:
            image = self.cache.features(number, scale)
        elif width * height > LARGE:
            image = whole(source, size)
        if width * height > LARGE:
            source, places = cut_now(source, places, self.patch_size)
        return PretextItem(str(path), number, row, source, size, image, places, boxes, draws, tuple(notes))

    def collate(self, items: Sequence[PretextItem]) -> dict[str, Any]:
        """Items to a batch, still as bytes.

        Returns:
            `ids`: the files; `rows`: (B, 2) int64 epoch and index; `sources`: `Sources`; `sizes`: (height,
            width) of each image; `images`: those that are resized already, by place; `features`: (B, C, h, w)
            float16 and `mask`: (B, h, w) bool, with a cache; `crops`: (B, M, 4) int64; `boxes`: (B, M, 4)
            float32; `draws`: of the augmentation; `notes`: a list of `Note`.
        """
        found = {
            "ids": [item.file for item in items],
            "rows": torch.tensor([item.row for item in items]),
            "sources": self.sources([item.source for item in items], [item.number for item in items]),
            "crops": torch.stack([item.crops for item in items]),
            "boxes": torch.stack([item.boxes for item in items]),
            "draws": Draws(
                *(torch.cat(parts) for parts in zip(*(item.draws for item in items), strict=True))
            ),
            "notes": [note for item in items for note in item.notes],
        }
        images = {place: item.image for place, item in enumerate(items) if item.image is not None}
        if self.cache is not None:
            features, mask = padded([*images.values()])
            return found | {"features": features, "mask": mask}
        return found | {"sizes": [item.size for item in items], "images": images}

    def _crops(self, number: int, key: Pair, width: int, height: int) -> NDArray[np.int64]:
        """(M, 4) x, y, width, height in pixels."""
        patches = patches_of(self.seed, *key, width, height, self.num_patches, least=self.min_patch)
        if self.targets is None:
            return patches
        given = whole_pixels(self.targets[number], width, height)
        chosen = generator(self.seed, "targets", *key).permutation(len(given))[: self.num_patches]
        patches[: len(chosen)] = given[chosen]
        return patches


def whole_pixels(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.int64]:
    """Boxes x, y, width, height in whole pixels inside the image; those below 2 px are left out."""
    low = np.clip(np.floor(boxes[:, :2]), 0, [width, height])
    high = np.clip(np.ceil(boxes[:, :2] + boxes[:, 2:]), 0, [width, height])
    found = np.concatenate([low, high - low], axis=1).astype(np.int64)
    return found[(found[:, 2:] >= 2).all(1)]


@torch.no_grad()
def prepare(batch: dict[str, Any], patch_size: int, *, augment: bool = True) -> Pretext:
    """Cut and augment a batch's patches, and resize and normalise its images, where the batch is.

    Args:
        batch: of `collate`, on a device.
        patch_size: P, pixels of a patch's side.
        augment: jitter, grey and blur patches as they were drawn; else they are as in the image.
    """
    crops, boxes, sources = batch["crops"], batch["boxes"], batch["sources"]
    count, each = crops.shape[:2]
    cut = sources.cut(crops, patch_size).flatten(0, 1)
    patches = patch_augment(cut, batch["draws"]) if augment else normalise(cut)
    targets = Targets(
        labels=torch.zeros(count * each, dtype=torch.int64, device=boxes.device),
        boxes=boxes.flatten(0, 1),
        counts=[each] * count,
        groups=torch.arange(each, device=boxes.device).repeat(count),
    )
    images = maps = None
    if "features" in batch:
        maps = Images(batch["features"].float(), batch["mask"])
    else:
        images = _images(sources, batch["sizes"], batch["images"])
    return Pretext(images, maps, patches.unflatten(0, (count, each)), targets)


def _images(sources: Sources, sizes: Sequence[tuple[int, int]], given: dict[int, Tensor]) -> Images:
    """The images at those sizes; `given` are resized already."""
    others = [place for place in range(len(sizes)) if place not in given]
    part = Sources([sources.images[place] for place in others])
    resized = part.resized([sizes[place] for place in others])
    found = given | dict(zip(others, resized, strict=True))
    return Images(*normalise_padded([found[place] for place in range(len(sizes))]))
