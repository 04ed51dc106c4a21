"""Labelled images as a detector is trained and scored on them (ours).

Pixels travel as bytes and are normalised on the device. An image that cannot be read is named in its batch;
in training another takes its place, in scoring it is left out. So one broken file neither ends a run nor goes
unseen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from nonet.data.batching import Pair, generator
from nonet.data.images import normalise, open_image, to_uint8
from nonet.data.labelled_boxes import LabelledImage, LabelledImages
from nonet.errors import RunFailed, UserError
from updetr.batches import Images, Targets, padded
from updetr.box_transforms import Augmentation, Sample, resized, shares, turned
from updetr.image_rows import ImageRows, Note

# Shapes: B images, H x W pixels with padding, T true boxes over the whole batch, n boxes of an image.

Batch = dict[str, Any]
MIB = 2**20  # bytes


class TrainingImages(ImageRows[Batch]):
    """Images with their boxes, augmented anew in each epoch; `self[(epoch, index)]` is an item.

    Where an image cannot be read, another one, drawn for (seed, epoch, index), takes its place. Crowd regions
    are left out. EXIF orientation is not applied, as boxes are drawn on stored pixels.

    Args:
        labelled: the data set.
        augment: what is drawn.
        seed: of the draws, together with epoch and index.
        keep: MiB of resized images that are kept in memory, where none is cropped.
    """

    def __init__(self, labelled: LabelledImages, augment: Augmentation, *, seed: int, keep: int = 0) -> None:
        super().__init__([image.path for image in labelled.images], seed=seed, orient=False)
        self.labelled, self.augment = labelled, augment
        self.room = keep * MIB
        self._bytes = 0
        self._sizes: dict[tuple[int, int], Sample] = {}

    def item(self, number: int, row: Pair, key: Pair, notes: list[Note]) -> Batch:
        """One image: `id`, `pixels` (3, h, w) uint8, `boxes` (n, 4), `labels` (n,), `notes`.

        Where nothing is cropped, `key` tells its pixels from those of all other items.
        """
        image, random = self.labelled.images[number], generator(self.seed, "augment", *key)
        same: tuple[int | bool, ...] = ()
        if self.augment.crop:
            sample = self.augment(open_labelled(image), random)
        else:
            scale = self.augment.drawn_scale(random)
            sized, turns = self._sized(number, scale), self.augment.drawn_turns(random)
            sample, same = turned(sized, turns), (number, scale, *turns)
        found = {"boxes": torch.from_numpy(shares(sample)), "labels": torch.from_numpy(sample.labels)}
        pixels = to_uint8(sample.image)
        about = {"id": image.id, "size": sample.image.size, "key": same, "notes": notes}
        return found | about | {"pixels": pixels}

    def _sized(self, number: int, scale: int) -> Sample:
        """The image at a scale; kept while there is room."""
        if (number, scale) in self._sizes:
            return self._sizes[number, scale]
        sample = resized(open_labelled(self.labelled.images[number]), scale, self.augment.longest)
        width, height = sample.image.size
        worker = get_worker_info()  # each process that loads has a share of the room
        if self._bytes + 3 * width * height <= self.room // (worker.num_workers if worker else 1):
            self._bytes += 3 * width * height
            self._sizes[number, scale] = sample
        return sample


class EvaluationImages:
    """Images at one scale, as they are scored; `self[(epoch, index)]` is an item, the same in every epoch.

    Args:
        labelled: the data set; its boxes come along, for the loss.
        scale: shorter side, pixels.
        longest: longer side at most, pixels.
    """

    def __init__(self, labelled: LabelledImages, *, scale: int, longest: int) -> None:
        self.labelled, self.scale, self.longest = labelled, scale, longest

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, item: Pair) -> Batch:
        """One image, as in `TrainingImages`; `size` is that of the stored one, (width, height).

        One that cannot be read is a `note` and nothing else.
        """
        image = self.labelled.images[item[1]]
        try:
            sample = resized(open_labelled(image), self.scale, self.longest)
        except UserError as error:
            return {"note": Note(str(image.path), str(error).removeprefix(f"{image.path}: "), True)}
        found = {"boxes": torch.from_numpy(shares(sample)), "labels": torch.from_numpy(sample.labels)}
        size = (image.width, image.height)
        key = (item[1], self.scale)
        return found | {"id": image.id, "pixels": to_uint8(sample.image), "size": size, "key": key}


def open_labelled(image: LabelledImage) -> Sample:
    """An image and its boxes, without crowd regions.

    Raises:
        UserError: the file cannot be read, or has another size than its boxes were drawn in.
    """
    picture = open_image(image.path, orient=False)
    if picture.size != (image.width, image.height):
        raise UserError(
            f"{image.path}: {picture.size[0]} x {picture.size[1]} pixels, but its boxes were drawn in "
            f"{image.width} x {image.height}: turned by its EXIF orientation, or resized?"
        )
    single = ~image.crowd
    return Sample(picture, image.boxes[single], image.labels[single])


def collate(items: Sequence[Batch]) -> Batch:
    """A batch of the items that could be read.

    Returns:
        `pixels` (B, 3, H, W) uint8 and `mask` (B, H, W) bool, True where there is an image, padded at the
        right and the bottom; `boxes` (T, 4) float32 and `labels` (T,) int64 of all images, `counts` of each;
        `ids`, `sizes` and `keys` (of training and validation) of the B images; `notes`, one for each that
        could not be read.

    Raises:
        RunFailed: none could be read.
    """
    good = [item for item in items if "note" not in item]
    notes = [note for item in items for note in item.get("notes", [item["note"]] if "note" in item else [])]
    if not good:
        first = f"{notes[0].file}: {notes[0].text}"
        raise RunFailed(f"no image of a batch of {len(items)} can be read; the first: {first}")
    pixels, mask = padded([item["pixels"] for item in good])
    return {
        "pixels": pixels,
        "mask": mask,
        "boxes": torch.cat([item["boxes"] for item in good]),
        "labels": torch.cat([item["labels"] for item in good]),
        "counts": [len(item["labels"]) for item in good],
        "ids": [item["id"] for item in good],
        "sizes": [item["size"] for item in good],
        "keys": [item.get("key", ()) for item in good],
        "notes": notes,
    }


def collate_readable(items: Sequence[Batch]) -> Batch:
    """As `collate`; a batch of which no image could be read has its `notes` alone."""
    if all("note" in item for item in items):
        return {"notes": [item["note"] for item in items]}
    return collate(items)


def images_of(batch: Batch) -> Images:
    """What the detector takes: pixels normalised where they lie, padding zero."""
    mask = batch["mask"]
    return Images(normalise(batch["pixels"]) * mask[:, None], mask)


def targets_of(batch: Batch) -> Targets:
    """What its answer is compared with."""
    return Targets(batch["labels"], batch["boxes"], batch["counts"])


def crowded(labelled: LabelledImages, queries: int) -> str | None:
    """What to warn of where images have more boxes than the detector has queries; None where none has."""
    counts = np.array([int((~image.crowd).sum()) for image in labelled.images])
    lost = np.clip(counts - queries, 0, None)
    if not lost.any():
        return None
    most, path = labelled.most_boxes()
    return (
        f"warning: {int((lost > 0).sum())} images have more boxes than the {queries} queries, the most "
        f"{most} ({Path(path or '').name}); {int(lost.sum())} boxes are left unmatched: raise size.queries"
    )
