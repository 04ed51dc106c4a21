"""Data sets and batches: documents with fresh gaps every epoch, and pairs for fine-tuning."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nonet.data.shards import Shards
from pegasus.gap_sentences import select
from pegasus.masking import IGNORE, PAD, Example, build, cut
from pegasus.options import GapOptions, MaskOptions
from pegasus.words import SentenceWords

if TYPE_CHECKING:
    from torch import Tensor

Item = tuple[int, int]  # epoch, index
Batch = dict[str, Any]


class GapSentenceData:
    """Pre-training examples from shards.

    An item is asked for by (epoch, index); it depends on these and the seed alone, so that any worker gives
    the same.

    Args:
        shards: what `gsg build` wrote.
        gaps: the selection; its result changes with the epoch only if it draws (random, hybrid, ratio_low,
            noise).
        masks: what replaces the sentences, lengths.
        starts_word: (V,) bool from the tokenizer.
        seed: of all draws.
        fixed: use the stored selection and epoch 0's masks in every epoch.
        rows: the documents to use; all by default.
    """

    def __init__(
        self,
        shards: Shards,
        gaps: GapOptions,
        masks: MaskOptions,
        starts_word: np.ndarray,
        *,
        seed: int = 0,
        fixed: bool = False,
        rows: np.ndarray | None = None,
    ) -> None:
        self.shards, self.gaps, self.masks, self.starts_word = shards, gaps, masks, starts_word
        self.seed, self.fixed = seed, fixed
        self.rows = np.arange(len(shards)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64: about how many input tokens each example has, for batching."""
        pieces = self.shards.lengths("pieces")[self.rows]
        share = (
            0.0 if self.gaps.strategy == "none" else self.gaps.ratio * (self.masks.mask + self.masks.remove)
        )
        return np.minimum((pieces * (1 - share)).astype(np.int64) + 2, self.masks.max_input)

    def example(self, item: Item) -> Example:
        """The example of one document in one epoch."""
        epoch, index = item
        number = int(self.rows[index])
        row = self.shards[number]
        epoch = 0 if self.fixed else epoch
        chosen, task = row["chosen"], -1
        if not self.fixed:
            offsets = np.concatenate([[0], row["word_ends"]]).astype(np.int64)
            words = SentenceWords(row["words"], offsets, np.array([0, len(offsets) - 1]))
            selected, tasks = select(
                words, self.gaps, seed=self.seed, epoch=epoch, documents=np.array([number])
            )
            chosen, task = selected[0], int(tasks[0])
        return build(
            row["pieces"], row["ends"], chosen, self.masks, self.starts_word,
            task=task, seed=self.seed, epoch=epoch, document=number,
        )  # fmt: skip

    def __getitem__(self, item: Item) -> Batch:
        example = self.example(item)
        out: Batch = {"id": int(self.rows[item[1]]), "input": example.input_ids, "target": example.target_ids}
        if self.masks.words:
            out["words"] = example.word_labels
        return out


class PairData:
    """Fine-tuning examples: a document's ids and its summary's, both ending in EOS.

    Args:
        documents: n texts.
        summaries: n texts.
        encode: text to ids without EOS.
        masks: lengths and how cut sequences end.
    """

    def __init__(
        self,
        documents: Sequence[str],
        summaries: Sequence[str],
        encode: Callable[[str], Sequence[int]],
        masks: MaskOptions,
    ) -> None:
        self.inputs = [_ended(encode(text)) for text in documents]
        self.targets = [_ended(encode(text)) for text in summaries]
        self.cut_inputs = sum(len(ids) > masks.max_input for ids in self.inputs)
        self.cut_targets = sum(len(ids) > masks.max_target for ids in self.targets)
        self.inputs = [cut(ids, masks.max_input, masks.end_cut_inputs) for ids in self.inputs]
        self.targets = [cut(ids, masks.max_target, masks.end_cut_targets) for ids in self.targets]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64 input tokens of each pair."""
        return np.array([len(ids) for ids in self.inputs], np.int64)

    def __getitem__(self, item: Item) -> Batch:
        index = item[1]
        return {"id": index, "input": self.inputs[index], "target": self.targets[index]}


def _ended(ids: Sequence[int]) -> np.ndarray:
    return np.concatenate([np.asarray(ids, np.int32), np.array([1], np.int32)])


def collate(items: Sequence[Batch]) -> "dict[str, Tensor]":
    """Pad examples into a batch.

    Returns:
        `ids` (B,) which examples they are; `input_ids`, `attention_mask` (B, L); `labels` (B, T); with
        masked words `word_labels` (B, L). All int64, labels -100 at padding. L is a multiple of 8.
    """
    import torch

    inputs = pad([item["input"] for item in items], PAD)
    batch = {
        "ids": np.array([item["id"] for item in items], np.int64),
        "input_ids": inputs,
        "attention_mask": pad([np.ones(len(item["input"]), np.int64) for item in items], 0),
        "labels": pad([item["target"] for item in items], IGNORE),
    }
    if "words" in items[0]:
        batch["word_labels"] = pad([item["words"] for item in items], IGNORE)
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def pad(rows: Sequence[np.ndarray], filler: int) -> np.ndarray:
    """Rows of different lengths as one (B, L) int64 array, L the longest rounded up to a multiple of 8."""
    length = max(map(len, rows))
    out = np.full((len(rows), -(-length // 8) * 8), filler, np.int64)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


def hold_out(
    count: int, share: float, *, seed: int, least: int = 1, most: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Split 0..count-1 into training and validation rows (both ascending) by a seeded draw."""
    take = min(most, max(least, int(count * share))) if share else 0
    take = min(take, count - 1)
    order = np.random.default_rng([seed, 0x5EED]).permutation(count)
    return np.sort(order[take:]), np.sort(order[:take])
