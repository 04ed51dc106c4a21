"""Batches of regions for patch-text alignment, of an exact number of texts.

Images are drawn until a batch is full (ours: the released code decoded several times as many and threw them
away). A text begins with [CLS] and has no [SEP], as in X-VLM (Zeng et al. 2022), COPA and TiMix.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nonet.data.batching import generator
from nonet.errors import RunFailed, UserError
from nonet.vision_language.region_files import RegionTable
from nonet.vision_language.region_samples import RegionImages, RegionItem, region_item

__all__ = ["MAX_LENGTH", "RegionBatches", "RegionImages", "region_texts"]

# Shapes: R images, E texts of regions, N patches, L word pieces.

MAX_LENGTH = 40  # word pieces of a region's text with [CLS], in the released code
_OTHERS = 20  # images tried in a row that give nothing


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
