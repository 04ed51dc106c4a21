"""Tokenised examples of one side of a task, and batches of them (ours).

Everything is on the CPU as numpy; an example's number is its place here, and its row of every bank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cap_prune.squad_features import Questions

# Shapes: N examples, B examples of a batch, L tokens of its longest example.

Batch = dict[str, Any]


class Row(NamedTuple):
    """One example.

    Attributes:
        number: its place among the examples.
        ids: (tokens,) int32.
        types: (tokens,) int32 segment numbers, where the model takes them.
        label: int64 number of the class, float32, or (2,) int64 first and last token of the answer; None
            where the data has none.
    """

    number: int
    ids: NDArray[np.int32]
    types: NDArray[np.int32] | None
    label: Any


@dataclass(frozen=True)
class Examples:
    """Examples in order; an item is `examples[(epoch, number)]`, as `nonet.training.data.StepData` asks.

    Attributes:
        ids: for each example (tokens,) int32, special tokens included.
        types: for each example (tokens,) int32, or None where the model takes none.
        labels: (N,) int64 classes, (N,) float32 numbers, (N, 2) int64 first and last token; None: unknown.
        lengths: (N,) int64 tokens of each.
        questions: for qa, which question each window belongs to and where its tokens lie in the context.
        cut: examples of which something was cut off at the end.
        skipped: rows of the file that were broken and left out, as the task allows (QQP).
    """

    ids: list[NDArray[np.int32]]
    types: list[NDArray[np.int32]] | None
    labels: NDArray[Any] | None
    lengths: NDArray[np.int64]
    questions: "Questions | None" = None
    cut: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        for name in ("types", "labels", "lengths"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.ids):
                raise ValueError(f"{len(self.ids)} examples, but {len(value)} {name}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, item: tuple[int, int]) -> Row:
        """Example `item[1]`; it is the same in every epoch."""
        number = item[1]
        return Row(
            number,
            self.ids[number],
            None if self.types is None else self.types[number],
            None if self.labels is None else self.labels[number],
        )

    def take(self, numbers: Sequence[int]) -> "Examples":
        """Only these examples, renumbered from 0; `questions`, `cut` and `skipped` are left out."""
        places = [int(number) for number in numbers]
        return Examples(
            ids=[self.ids[place] for place in places],
            types=None if self.types is None else [self.types[place] for place in places],
            labels=None if self.labels is None else self.labels[places],
            lengths=self.lengths[places],
        )


def collate(rows: Sequence[Row], pad_id: int) -> Batch:
    """A padded batch of tensors on the CPU.

    Args:
        rows: examples of the same data.
        pad_id: the tokenizer's number for padding.

    Returns:
        `input_ids` and `attention_mask` (B, L) int64, `token_type_ids` (B, L) where there are types, `index`
        (B,) int64, and of the labels `labels` (B,) int64 or float32, or `starts` and `ends` (B,) int64; `ids`
        is the list of the numbers, for messages.
    """
    import torch

    width = max(len(row.ids) for row in rows)
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    types = np.zeros((len(rows), width), np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row.ids)] = row.ids
        mask[place, : len(row.ids)] = 1
        if row.types is not None:
            types[place, : len(row.ids)] = row.types
    numbers = [row.number for row in rows]
    batch: Batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "index": torch.tensor(numbers, dtype=torch.long),
        "ids": numbers,
    }
    if rows[0].types is not None:
        batch["token_type_ids"] = torch.from_numpy(types)
    if rows[0].label is not None:
        labels = torch.from_numpy(np.stack([row.label for row in rows]))
        if labels.ndim == 2:
            batch["starts"], batch["ends"] = labels[:, 0].contiguous(), labels[:, 1].contiguous()
        else:
            batch["labels"] = labels
    return batch


def move(batch: Batch, device: Any) -> Batch:
    """The batch with its tensors on a device; what is no tensor stays."""
    return {
        name: value.to(device, non_blocking=True) if hasattr(value, "to") else value
        for name, value in batch.items()
    }


def inputs_of(batch: Batch) -> Batch:
    """The entries of a batch that a model's forward takes."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
