"""Batches of image-text pairs: what a data set gives for a visit, and how visits become tensors (ours).

A visit is (epoch, index): the caption that is drawn, the crop, the prefix are functions of (seed, epoch,
index), so that workers and order change nothing. An image that cannot be read is replaced by another one, and
said.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nonet.data.batching import Pair, generator
from nonet.data.captions import caption_number, split_prefix, tells_sides
from nonet.data.image_text_pairs import PairTable
from nonet.errors import RunFailed, UserError

UNREADABLE = 0.01  # share of the images that may be unreadable before a run stops
_OTHERS = 20  # images tried in place of one that cannot be read


class PairItem(NamedTuple):
    """One visit of an image.

    Attributes:
        image: (3, H, W) float32, normalised.
        caption: the one that was drawn.
        cut: words of the prefix.
        number: of the image; two items of one image have one number.
        place: file and line.
        row: of the item in the table.
        unreadable: images that were tried before, and why they failed.
    """

    image: Tensor
    caption: str
    cut: int
    number: int
    place: str
    row: int
    unreadable: tuple[str, ...]


class PairDataset:
    """The visits of a table of pairs; `dataset[(epoch, index)]` is a `PairItem`.

    Args:
        table: the pairs.
        transform: `(image, generator, may_flip=) -> (3, H, W)`, such as `TrainImages` or `PlainImages`.
        seed: of the run.
        careful_flip: no mirror image where the caption says left or right. The released code mirrors all.
    """

    def __init__(
        self, table: PairTable, transform: Callable[..., Tensor], *, seed: int = 0, careful_flip: bool = True
    ) -> None:
        self.table, self.transform, self.seed, self.careful_flip = table, transform, seed, careful_flip

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, visit: Pair) -> PairItem:
        epoch, index = visit
        random = generator(self.seed, "pairs", epoch, index)
        failed: list[str] = []
        for _ in range(_OTHERS):
            try:
                image = self.table.open(index)
                break
            except UserError as error:
                failed.append(str(error))
                index = int(random.integers(len(self.table)))
        else:
            raise RunFailed(f"{_OTHERS} images in a row cannot be read, the last one: {failed[-1]}")
        captions = self.table.captions_of(index)
        caption = captions[int(random.integers(len(captions)))]
        cut = int(random.integers(len(caption.split())))
        may_flip = not (self.careful_flip and tells_sides(caption))
        pixels = self.transform(image, random, may_flip=may_flip)
        number, place = int(self.table.numbers[index]), self.table.places[index]
        return PairItem(pixels, caption, cut, number, place, index, tuple(failed))


class PairCollate:
    """A list of items to a batch.

    Args:
        tokenizer: of transformers, with a token to begin, to end and to pad (BERT's kind).
        max_length: word pieces of a text with both of its ends; the rest is cut off.
        prefix: also give the texts cut in two, for prefix language modelling.

    Raises:
        UserError: the tokenizer lacks such a token.
    """

    def __init__(self, tokenizer: Any, *, max_length: int = 20, prefix: bool = True) -> None:
        self.texts = TextBatch(tokenizer, max_length)
        self.prefix = prefix

    def __call__(self, items: Sequence[PairItem]) -> dict[str, Any]:
        """The batch.

        Keys:
            images: (B, 3, H, W) float32, normalised.
            input_ids, attention_mask: (B, L) int64, padded to the longest.
            image_ids: (B,) int64; equal numbers are one image.
            caption_ids: (B,) int64; equal numbers are equal captions.
            prefix_ids, prefix_mask: (B, P) int64, the words that are given; `[CLS] [SEP]` if none are.
            target_ids, target_mask: (B, T) int64, the others: `[CLS] words [SEP] [SEP]`.
            captions: B texts.
            ids: B places, such as `pairs.jsonl:12`, for messages.
            unreadable: texts on images that were replaced.
        """
        captions = [item.caption for item in items]
        ids, mask = self.texts(captions)
        batch: dict[str, Any] = {
            "images": torch.stack([item.image for item in items]),
            "input_ids": ids,
            "attention_mask": mask,
            "image_ids": torch.tensor([item.number for item in items]),
            "caption_ids": torch.tensor([caption_number(caption) for caption in captions]),
            "captions": captions,
            "ids": [item.place for item in items],
            "unreadable": [text for item in items for text in item.unreadable],
        }
        if self.prefix:
            halves = [split_prefix(item.caption, item.cut) for item in items]
            batch["prefix_ids"], batch["prefix_mask"] = self.texts([prefix for prefix, _ in halves])
            targets = self.texts([rest for _, rest in halves], end_twice=True)
            batch["target_ids"], batch["target_mask"] = targets
        return batch


class TextBatch:
    """Texts to padded word pieces with both ends.

    Args:
        tokenizer: of transformers.
        max_length: word pieces with both ends.

    Raises:
        UserError: the tokenizer lacks a token to begin, to end or to pad, or max_length is below 3.
    """

    def __init__(self, tokenizer: Any, max_length: int = 20) -> None:
        if max_length < 3:
            raise UserError(f"max_length is {max_length}; a text has two ends and a word piece: at least 3")
        names = ("cls_token_id", "sep_token_id", "pad_token_id")
        missing = [name.removesuffix("_id") for name in names if getattr(tokenizer, name, None) is None]
        if missing:
            raise UserError(f"the tokenizer has no {', '.join(missing)}: take one of BERT's kind")
        self.tokenizer, self.max_length = tokenizer, max_length
        self.begin, self.end, self.pad = (int(getattr(tokenizer, name)) for name in names)

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Word pieces of each text without its ends, however many."""
        if not texts:
            return []
        found = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [list(own) for own in found]

    def __call__(self, texts: Sequence[str], *, end_twice: bool = False) -> tuple[Tensor, Tensor]:
        """Ids and mask.

        Args:
            texts: B of them; an empty one is its two ends.
            end_twice: write the end as a word too, as the released prefix language modelling does: it is what
                the decoder learns to stop with.

        Returns:
            (B, L) int64 ids and (B, L) int64 mask, 1 where there is a word piece; L is that of the longest.
        """
        room = self.max_length - 2
        rows = []
        for own in self.pieces(texts):
            inner = ([*own, self.end] if end_twice else own)[:room]
            rows.append([self.begin, *inner, self.end])
        width = max(map(len, rows), default=2)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, own in enumerate(rows):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        return ids, mask


class UnreadableImages:
    """Watches the batches of a run for images that could not be read.

    Args:
        count: images of the data set.
        limit: share of them that may be unreadable; one image always may, unless it is 0.
        say: takes a line for each such image, once.
    """

    def __init__(self, count: int, limit: float = UNREADABLE, say: Callable[[str], None] = print) -> None:
        if not 0 <= limit <= 1:
            raise UserError(f"a share of {limit} unreadable images; it lies in 0..1")
        self.count, self.limit, self.say = count, limit, say
        self.found: set[str] = set()

    def __call__(self, batch: Mapping[str, Any]) -> None:
        """Look at a batch.

        Raises:
            RunFailed: too many images cannot be read.
        """
        for text in batch.get("unreadable", ()):
            if text not in self.found:
                self.found.add(text)
                self.say(f"{text}; another image takes its place")
        allowed = max(self.limit * self.count, 1) if self.limit else 0
        if len(self.found) > allowed:
            raise RunFailed(
                f"{len(self.found)} of {self.count} images cannot be read, more than {self.limit:.1%}, such "
                f"as {min(self.found)}"
            )


class EvaluationImages:
    """The images of a table by index, each once and without chance; one that cannot be read is an error.

    Args:
        table: the pairs; of items of one image the first is taken.
        transform: such as `PlainImages`.
    """

    def __init__(self, table: PairTable, transform: Callable[..., Tensor]) -> None:
        self.table, self.transform = table, transform
        _, self.items = np.unique(table.numbers, return_index=True)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) float32, normalised; index is that of the image, in the order of `table.numbers`."""
        return self.transform(self.table.open(int(self.items[index])))
