"""Images with one crop of an object beside them: what is looked for is all objects of its class.

The protocol is that of CoAE (Hsieh et al. 2019), which UP-DETR follows (Dai et al. 2021, section 4.3): some
classes are never trained on; all objects of the crop's class in the image are right answers, whatever the
class; a crop is cut at a true box, from another image where there is one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.images import normalise, open_image, to_uint8
from nonet.data.labelled_boxes import LabelledImages, listed
from nonet.errors import UserError
from updetr import finetune_data
from updetr.finetune_data import Batch, TrainingImages
from updetr.image_rows import Note

# Shapes: B images, P x P pixels of a crop.

VOC_UNSEEN = ("cow", "sheep", "cat", "aeroplane")
"""the classes of VOC that the protocol never trains on"""


class Crop(NamedTuple):
    """An object that is shown: which image of the data set, and which of its boxes."""

    image: int
    box: int


class Crops:
    """The objects of each class that can be shown.

    Args:
        labelled: the data set; crowd regions and objects marked difficult are never shown.
        least: least side of a crop, pixels.

    Attributes:
        of_class: for each class its crops, in the order of the images.
    """

    def __init__(self, labelled: LabelledImages, *, least: float) -> None:
        self.labelled = labelled
        self.of_class: list[list[Crop]] = [[] for _ in labelled.names]
        for number, image in enumerate(labelled.images):
            sides = (image.boxes[:, 2:] - image.boxes[:, :2]).min(1, initial=np.inf)
            good = ~image.crowd & ~image.difficult & (sides >= least)
            for row in np.flatnonzero(good):
                self.of_class[int(image.labels[row])].append(Crop(number, int(row)))

    def others(self, label: int, image: int) -> list[Crop]:
        """Those of a class that are in other images; its own image's where there are no others."""
        crops = self.of_class[label]
        return [crop for crop in crops if crop.image != image] or crops

    def name(self, crop: Crop) -> str:
        """`IMAGE-ID/BOX`, the box's number among those of the image, from 0."""
        return f"{self.labelled.images[crop.image].id}/{crop.box}"

    def pixels(self, crop: Crop, size: int) -> Tensor:
        """(3, size, size) uint8, the crop resized without regard for its proportion.

        Raises:
            UserError: the image cannot be read, or is smaller than its boxes say.
        """
        from PIL.Image import Resampling

        image = self.labelled.images[crop.image]
        picture = open_image(image.path, orient=False)
        left, top = np.floor(image.boxes[crop.box, :2]).astype(int).tolist()
        right, bottom = np.ceil(image.boxes[crop.box, 2:]).astype(int).tolist()
        window = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
        if window[2] <= window[0] or window[3] <= window[1]:
            raise UserError(f"{image.path}: {picture.width} x {picture.height} pixels do not hold its boxes")
        return to_uint8(picture.crop(window).resize((size, size), Resampling.BILINEAR))


class OneShotImages(TrainingImages):
    """`self[(epoch, index)]` is an image, the boxes of one of its classes, and a crop of that class.

    Args:
        labelled: images with objects of the classes that are trained on alone.
        augment: see `TrainingImages`, as are `seed` and `keep`; it must not crop, so that boxes remain.
        crops: what can be shown.
        patch_size: side of a crop, pixels.
        seed: of the draws.
        keep: MiB of resized images that are kept in memory.
    """

    def __init__(
        self,
        labelled: LabelledImages,
        augment: Any,
        crops: Crops,
        *,
        patch_size: int,
        seed: int,
        keep: int = 0,
    ) -> None:
        super().__init__(labelled, augment, seed=seed, keep=keep)
        self.crops, self.patch_size = crops, patch_size

    def item(self, number: int, row: Pair, key: Pair, notes: list[Note]) -> Batch:
        """As in `TrainingImages`, its labels all 0; besides `patch` (3, P, P) uint8 and its `name`."""
        found = super().item(number, row, key, notes)
        random = generator(self.seed, "one-shot", *key)
        there = found["labels"].unique().tolist()
        shown = [label for label in there if self.crops.of_class[label]]
        label = int(random.choice(shown))
        crop, patch = self._shown(self.crops.others(label, number), random, notes)
        chosen = found["labels"] == label
        own = {"boxes": found["boxes"][chosen], "labels": torch.zeros_like(found["labels"][chosen])}
        return found | own | {"patch": patch, "name": self.crops.name(crop)}

    def _shown(
        self, choices: list[Crop], random: np.random.Generator, notes: list[Note]
    ) -> tuple[Crop, Tensor]:
        """One of the crops, and its pixels; those of images that cannot be read are noted and passed over."""
        while True:
            crop = choices[int(random.integers(len(choices)))]
            try:
                return crop, self.crops.pixels(crop, self.patch_size)
            except UserError as error:
                path = self.labelled.images[crop.image].path
                notes.append(Note(str(path), str(error).removeprefix(f"{path}: "), True))
                choices = [other for other in choices if other.image != crop.image]
                if not choices:
                    raise


def collate(items: Sequence[Batch]) -> Batch:
    """As in fine-tuning, and `patches` (B, 3, P, P) uint8."""
    batch = finetune_data.collate(items)
    return batch | {"patches": torch.stack([item["patch"] for item in items])}


def patches_of(batch: Batch) -> Tensor:
    """(B, 1, 3, P, P) float32, normalised where they lie."""
    return normalise(batch["patches"])[:, None]


def seen_and_unseen(names: Sequence[str], unseen: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes to train on and those to leave out, in the order of the data.

    Args:
        names: of the data.
        unseen: to leave out.

    Raises:
        UserError: the data lacks one, or nothing would be left.
    """
    if lacking := [name for name in unseen if name not in names]:
        raise UserError(f"unseen: the data has no class {listed(lacking)}; it has {listed(names, 30)}")
    seen = tuple(name for name in names if name not in unseen)
    if not seen:
        raise UserError(f"unseen: all classes, {listed(names)}, are left out; leave some to train on")
    return seen, tuple(name for name in names if name in unseen)


def only_classes(labelled: LabelledImages, kept: Sequence[str]) -> LabelledImages:
    """The images with objects of some classes, and no others' boxes; labels stay as they are numbered."""
    numbers = [labelled.names.index(name) for name in kept]
    images = [image.keep(np.isin(image.labels, numbers)) for image in labelled.images]
    return replace(labelled, images=[image for image in images if (~image.crowd).any()])


def crops_of(labelled: LabelledImages, least: float, asked: LabelledImages) -> Crops:
    """The crops of a data set.

    Args:
        labelled: where they are cut.
        least: least side of a crop, pixels.
        asked: images with objects of the classes that are needed, numbered alike.

    Raises:
        UserError: a class that is needed has none.
    """
    crops = Crops(labelled, least=least)
    for name, count, some in zip(labelled.names, asked.boxes_a_class(), crops.of_class, strict=True):
        if count and not some:
            raise UserError(
                f"no {name} can be shown: the data has none of {least:g} pixels or more that is neither "
                "a crowd nor marked difficult; lower min_crop or name more data"
            )
    return crops
