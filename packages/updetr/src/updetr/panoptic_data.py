"""Images and their segments as a mask head is trained on them (ours).

The segments of an image travel as one map of numbers, and become masks where the loss is computed. Crowds
are left out. Segments that have no pixel left at the size of the training image are dropped. Where an image
or its segments cannot be read, another one takes its place.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.images import fitted, open_image, to_uint8
from nonet.errors import UserError
from nonet.metrics.panoptic import SegmentMap
from updetr.batches import padded
from updetr.finetune_data import Batch
from updetr.image_rows import ImageRows, Note
from updetr.panoptic_files import PanopticData, boxes_of

# Shapes: B images, H x W pixels with padding, T segments over the whole batch.


class SegmentedImages(ImageRows[Batch]):
    """`self[(epoch, index)]` is an image and its segments, at a scale drawn anew in each epoch.

    Args:
        data: the data set.
        scales: shorter sides, pixels.
        longest: longer side at most, pixels.
        flip: share of images that are mirrored left to right.
        seed: of the draws, together with epoch and index.
    """

    def __init__(
        self, data: PanopticData, *, scales: Sequence[int], longest: int, flip: float, seed: int
    ) -> None:
        super().__init__([image.path for image in data.images], seed=seed, orient=False)
        self.data, self.scales, self.longest, self.flip = data, scales, longest, flip

    def item(self, number: int, row: Pair, key: Pair, notes: list[Note]) -> Batch:
        """`id`, `pixels` (3, h, w) uint8, `segments` (h, w) int16: 1 + the place of its segment, 0 for none;
        `boxes` (n, 4) float32 cxcywh in 0..1 and `labels` (n,); `notes`."""
        from PIL import Image
        from PIL.Image import Resampling, Transpose

        image = self.data.images[number]
        random = generator(self.seed, "panoptic", *key)
        picture = open_image(image.path, orient=False)
        segments = image.segments()
        if picture.size != (image.width, image.height):
            raise UserError(
                f"{image.path}: {picture.size[0]} x {picture.size[1]} pixels, and its segments are of "
                f"{image.width} x {image.height}"
            )
        kept = [segment for segment in segments.categories if segment not in segments.crowd]
        places = np.zeros(segments.ids.shape, np.int32)
        for place, segment in enumerate(kept, 1):
            places[segments.ids == segment] = place
        picture = fitted(picture, int(random.choice(list(self.scales))), self.longest)
        # Pillow keeps every 32-bit number where the nearest pixel is taken.
        small = np.asarray(Image.fromarray(places).resize(picture.size, Resampling.NEAREST))
        if self.flip and random.random() < self.flip:
            picture, small = picture.transpose(Transpose.FLIP_LEFT_RIGHT), small[:, ::-1]
        there = [place for place in range(1, len(kept) + 1) if (small == place).any()]
        renumbered = np.zeros(len(kept) + 1, np.int16)
        renumbered[there] = np.arange(1, len(there) + 1)
        small = renumbered[small]
        labels = [segments.categories[kept[place - 1]] for place in there]
        edges = boxes_of(SegmentMap(small, {place: 0 for place in range(1, len(there) + 1)}))
        return {
            "id": image.id,
            "pixels": to_uint8(picture),
            "segments": torch.from_numpy(small.copy()),
            "boxes": _shares(list(edges.values()), picture.size),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "notes": notes,
        }


def collate(items: Sequence[Batch]) -> Batch:
    """A batch, padded at the right and the bottom.

    Returns:
        `pixels` (B, 3, H, W) uint8, `mask` (B, H, W) bool, `segments` (B, H, W) int16, `boxes` (T, 4) and
        `labels` (T,) of all images, `counts` of each, `ids`, and `notes` of those that could not be read.
    """
    pixels, mask = padded([item["pixels"] for item in items])
    segments = torch.zeros(mask.shape, dtype=torch.int16)
    for row, item in enumerate(items):
        height, width = item["segments"].shape
        segments[row, :height, :width] = item["segments"]
    return {
        "pixels": pixels,
        "mask": mask,
        "segments": segments,
        "boxes": torch.cat([item["boxes"] for item in items]),
        "labels": torch.cat([item["labels"] for item in items]),
        "counts": [len(item["labels"]) for item in items],
        "ids": [item["id"] for item in items],
        "notes": [note for item in items for note in item["notes"]],
    }


def masks_of(batch: Batch, boxes_P: Tensor) -> Tensor:
    """(P, H, W) bool masks of some of a batch's T segments.

    Args:
        batch: of `collate`.
        boxes_P: (P,) int64, their places among the T.
    """
    counts = torch.tensor(batch["counts"])
    images = torch.repeat_interleave(torch.arange(len(counts)), counts)
    places = torch.cat([torch.arange(1, int(count) + 1) for count in counts] or [counts])
    segments: Tensor = batch["segments"]
    images, places = images.to(segments.device)[boxes_P], places.to(segments.device)[boxes_P]
    return segments[images] == places[:, None, None]


def _shares(edges: Sequence[Sequence[int]], size: tuple[int, int]) -> Tensor:
    """(n, 4) float32 cxcywh in 0..1 of edges left, top, right, bottom in pixels."""
    xyxy = torch.tensor(edges, dtype=torch.float64).reshape(-1, 4) / torch.tensor([*size, *size])
    low, high = xyxy[:, :2], xyxy[:, 2:]
    return torch.cat([(low + high) / 2, high - low], 1).float()
