"""Whole images with all of their regions, without crop or chance: what detectors are measured on (ours)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nonet.data.batching import Pair
from nonet.data.image_augment import as_input
from nonet.errors import UserError
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.region_data import MAX_LENGTH, region_texts
from nonet.vision_language.region_files import RegionTable
from nonet.vision_language.region_samples import RegionImages, RegionItem, moved_boxes, visible

# Shapes: R images, E texts of regions, N patches, L word pieces.


class WholeRegions:
    """The images of a table with every region that lies in its image; `whole[(epoch, index)]`.

    A region has its first text, behind its first attribute if it has any. The image's caption is left out:
    its patches are all of them.

    Args:
        table: the regions.
        images: sizes, normalisation and `min_visible`; nothing else of it is used.
    """

    def __init__(self, table: RegionTable, images: RegionImages) -> None:
        self.table, self.images = table, images

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, visit: Pair) -> RegionItem | str:
        """The image with its regions; a text that says why it cannot be used."""
        from PIL.Image import Resampling

        _, index = visit
        images = self.images
        try:
            image = self.table.open(index)
        except UserError as error:
            return str(error)
        width, height = image.size
        regions = self.table.regions(index)
        held = [
            (region, boxes)
            for region in regions
            if (boxes := visible(region.boxes, (0, 0, width, height), images.min_visible))
        ]
        if not held:
            return f"{self.table.places[index]}: no region lies in {width} x {height} pixels"
        size = (images.height, images.width)
        flat = np.array([box for _, boxes in held for box in boxes])
        moved = moved_boxes(flat, (0, 0, width, height), size, False)
        each = rasterise(moved, size, images.patch).split([len(boxes) for _, boxes in held])
        picture = image.resize((images.width, images.height), Resampling.BICUBIC)
        return RegionItem(
            as_input(picture, images.mean, images.deviation),
            [" ".join([*region.attributes[:1], region.texts[0]]) for region, _ in held],
            torch.stack([part.any(0) for part in each]), self.table.places[index], len(regions) - len(held),
        )  # fmt: skip


class WholeCollate:
    """Such images to a batch like those of `RegionBatches`; those that cannot be used are left out.

    Args:
        tokenizer: of transformers, with a token to begin and to pad (BERT's kind).
        max_length: word pieces of a region's text with the one that begins it.
    """

    def __init__(self, tokenizer: Any, max_length: int = MAX_LENGTH) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length

    def __call__(self, items: Sequence[RegionItem | str]) -> dict[str, Any] | None:
        """The batch; None if no image can be used.

        Keys:
            images: (R, 3, H, W) float32, normalised.
            of_image: (E,) int64 in 0..R-1, the image of each text.
            input_ids, attention_mask: (E, L) int64, padded to the longest.
            masks: (E, N) bool, the patches of each text.
            texts: E texts.
            ids: R places, such as `regions.jsonl:12`.
            unreadable: texts on images that cannot be used.
        """
        found = [item for item in items if not isinstance(item, str)]
        if not found:
            return None
        texts = [text for item in found for text in item.texts]
        ids, mask, _ = region_texts(self.tokenizer, texts, self.max_length)
        return {
            "images": torch.stack([item.image for item in found]),
            "of_image": torch.tensor([row for row, item in enumerate(found) for _ in item.texts]),
            "input_ids": ids,
            "attention_mask": mask,
            "masks": torch.cat([item.masks for item in found]),
            "texts": texts,
            "ids": [item.place for item in found],
            "unreadable": [item for item in items if isinstance(item, str)],
        }
