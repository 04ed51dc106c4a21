"""Two random views of each image, for learning without labels (Chen et al. 2020, SimCLR, section 2.1 and A).

A view is a crop of a random area and aspect, resized to a square, perhaps mirrored, jittered, grey and
blurred. Numbers are drawn by (seed, epoch, index), pixels are computed on the device.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.images import MAX_PIXELS
from nonet.errors import UserError
from nonet.kernels.patch_augment import Draws, draw_augmentations, patch_augment
from updetr.image_rows import ImageRows, Note
from updetr.image_sources import LARGE, cut_now

# Shapes: B images, two views of each, P x P pixels of a view.

VIEWS = 2
LEAST_SIDE = 17  # pixels of an image
ASPECTS = (3 / 4, 4 / 3)  # width / height of a crop
_TRIES = 10  # crops that are drawn until one fits into the image


class ViewItem(NamedTuple):
    """One image and where its two views are.

    Attributes:
        file: the image's.
        number: of the image.
        row: (epoch, index) that was asked for.
        source: (3, H, W) uint8 that the views are cut from.
        crops: (2, 4) int64 x, y, width, height in pixels of `source`.
        mirrored: (2,) bool.
        draws: of the augmentation.
        notes: what is to be said.
    """

    file: str
    number: int
    row: Pair
    source: Tensor
    crops: Tensor
    mirrored: Tensor
    draws: Draws
    notes: tuple[Note, ...]


class ViewData(ImageRows[ViewItem]):
    """`data[(epoch, index)]` is an image and two places in it.

    Args:
        images: the files; see `ImageRows` for `seed`, `max_pixels` and `keep`.
        size: P, pixels of a view's side.
        least_area: least share of the image that a view shows.
    """

    def __init__(
        self,
        images: Sequence[Path],
        *,
        seed: int,
        size: int,
        least_area: float = 0.2,
        max_pixels: int = MAX_PIXELS,
        keep: int = 0,
    ) -> None:
        super().__init__(images, seed=seed, max_pixels=max_pixels, keep=keep)
        self.size, self.least_area = size, least_area

    def item(self, number: int, row: Pair, key: Pair, notes: list[Note]) -> ViewItem:
        """See `ImageRows`."""
        path, source = self.images[number], self.pixels(number, notes)
        height, width = source.shape[1:]
        if min(height, width) < LEAST_SIDE:
            raise UserError(f"{path}: {width} x {height} px are too few; sides have {LEAST_SIDE} at least")
        random = generator(self.seed, "views", *key)
        places = torch.from_numpy(
            np.stack([random_crop(width, height, self.least_area, random) for _ in range(VIEWS)])
        )
        mirrored = torch.from_numpy(random.random(VIEWS) < 0.5)
        draws = draw_augmentations(random, VIEWS)
        if width * height > LARGE:
            source, places = cut_now(source, places, self.size)
        return ViewItem(str(path), number, row, source, places, mirrored, draws, tuple(notes))

    def collate(self, items: Sequence[ViewItem]) -> dict[str, Any]:
        """Items to a batch, still as bytes.

        Returns:
            `ids`, `rows`, `sources`, `crops`, `mirrored`, `draws`, `notes`.
        """
        return {
            "ids": [item.file for item in items],
            "rows": torch.tensor([item.row for item in items]),
            "sources": self.sources([item.source for item in items], [item.number for item in items]),
            "crops": torch.stack([item.crops for item in items]),
            "mirrored": torch.stack([item.mirrored for item in items]),
            "draws": Draws(
                *(torch.cat(parts) for parts in zip(*(item.draws for item in items), strict=True))
            ),
            "notes": [note for item in items for note in item.notes],
        }


def random_crop(width: int, height: int, least_area: float, random: np.random.Generator) -> NDArray[np.int64]:
    """A place in an image: an area uniform in least_area..1 of it, an aspect log-uniform in 3/4..4/3.

    If ten such crops do not fit into the image, it is the largest one in its middle with such an aspect.

    Returns:
        (4,) int64 x, y, width, height in pixels.
    """
    (x, y), *tries = random.random((_TRIES + 1, 2)).tolist()
    shortest, longest = map(math.log, ASPECTS)
    for share, place in tries:
        area = (least_area + (1 - least_area) * share) * width * height
        aspect = math.exp(shortest + (longest - shortest) * place)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= w <= width and 1 <= h <= height:
            return np.array([int(x * (width - w + 1)), int(y * (height - h + 1)), w, h])
    shape = min(max(width / height, ASPECTS[0]), ASPECTS[1])
    w, h = min(width, round(height * shape)), min(height, round(width / shape))
    return np.array([(width - w) // 2, (height - h) // 2, w, h])


@torch.no_grad()
def views_of(batch: dict[str, Any], size: int) -> Tensor:
    """(2 B, 3, P, P) float32: both views of image 0, then of image 1, ..., where the batch is."""
    cut = batch["sources"].cut(batch["crops"], size)
    mirrored = batch["mirrored"][..., None, None, None]
    return patch_augment(torch.where(mirrored, cut.flip(-1), cut).flatten(0, 1), batch["draws"])
