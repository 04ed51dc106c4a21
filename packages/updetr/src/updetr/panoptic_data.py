"""Images and their segments as a mask head is trained on them (ours).

The segments of an image travel as one map of numbers, and become masks where the loss is computed. Crowds
are left out. Segments that have no pixel left at the size of the training image are dropped.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.images import fitted, open_image, to_uint8
from nonet.errors import RunFailed, UserError
from nonet.metrics.panoptic import SegmentMap
from updetr.batches import padded
from updetr.finetune_data import Batch
from updetr.image_rows import Note
from updetr.panoptic_files import PanopticData, boxes_of

# Shapes: B images, H x W pixels with padding, T segments over the whole batch.


class SegmentedImages:
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
        self.data, self.scales, self.longest, self.flip, self.seed = data, scales, longest, flip, seed

    def __len__(self) -> int:
        return len(self.data.images)

    def __getitem__(self, item: Pair) -> Batch:
        """`id`, `pixels` (3, h, w) uint8, `segments` (h, w) int16: 1 + the place of its segment, 0 for none;
        `boxes` (n, 4) float32 cxcywh in 0..1 and `labels` (n,); or a `note`."""
        from PIL import Image
        from PIL.Image import Resampling, Transpose

        image = self.data.images[item[1]]
        random = generator(self.seed, "panoptic", *item)
        try:
            picture = open_image(image.path, orient=False)
            segments = image.segments()
            if picture.size != (image.width, image.height):
                raise UserError(
                    f"{image.path}: {picture.size[0]} x {picture.size[1]} pixels, and its segments are of "
                    f"{image.width} x {image.height}"
                )
        except UserError as error:
            return {"note": Note(str(image.path), str(error).removeprefix(f"{image.path}: "), True)}
        kept = [number for number in segments.categories if number not in segments.crowd]
        places = np.zeros(segments.ids.shape, np.int32)
        for place, number in enumerate(kept, 1):
            places[segments.ids == number] = place
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
        }


def collate(items: Sequence[Batch]) -> Batch:
    """A batch of the items that could be read, padded at the right and the bottom.

    Returns:
        `pixels` (B, 3, H, W) uint8, `mask` (B, H, W) bool, `segments` (B, H, W) int16, `boxes` (T, 4) and
        `labels` (T,) of all images, `counts` of each, `ids`, and `notes` of those that could not be read.

    Raises:
        RunFailed: none could be read.
    """
    notes = [item["note"] for item in items if "note" in item]
    good = [item for item in items if "note" not in item]
    if not good:
        first = f"{notes[0].file}: {notes[0].text}"
        raise RunFailed(f"no image of a batch of {len(items)} can be read; the first: {first}")
    pixels, mask = padded([item["pixels"] for item in good])
    segments = torch.zeros(mask.shape, dtype=torch.int16)
    for row, item in enumerate(good):
        height, width = item["segments"].shape
        segments[row, :height, :width] = item["segments"]
    return {
        "pixels": pixels,
        "mask": mask,
        "segments": segments,
        "boxes": torch.cat([item["boxes"] for item in good]),
        "labels": torch.cat([item["labels"] for item in good]),
        "counts": [len(item["labels"]) for item in good],
        "ids": [item["id"] for item in good],
        "notes": notes,
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
