"""What a causal language model is trained on: encoded rows, or windows of running text (ours).

An item is asked for by (epoch, index) and depends on these and the seed alone, so that any number of workers
gives the same.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import generator
from nonet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Shapes: B rows in a batch, L tokens of its longest row.

Ids = NDArray[np.int32]
IGNORED = -100
"""label of a token that is not trained"""
PAD_TO = 8
"""batches are padded to a multiple of this many tokens"""


class Encoded(NamedTuple):
    """One row as tokens."""

    ids: Ids
    """(l,) of prompt and answer"""
    start: int
    """the first token that is trained; all after it are, too"""
    number: int = -1
    """place of the row among those that were given"""


class Rows:
    """Encoded rows as a data set; the same in every epoch.

    Args:
        rows: of `double_i.encoding.encode_rows`.
    """

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: tuple[int, int]) -> Encoded:
        return self.rows[item[1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) tokens of each."""
        return np.array([len(row.ids) for row in self.rows], np.int64)


class PackedText:
    """Windows of running text, all of whose tokens are trained; each epoch begins at another token.

    Args:
        ids: the tokens of all texts.
        length: of a window.
        seed: of where an epoch begins.

    Raises:
        UserError: fewer tokens than a window and one.
    """

    def __init__(self, ids: Ids, length: int, *, seed: int) -> None:
        if length < 2:
            raise UserError(f"a window of {length} tokens is too short: it has 2 or more")
        self.ids, self.length, self.seed = ids, length, seed
        self.count = (len(ids) - 1) // length
        if not self.count:
            raise UserError(f"{len(ids):,} tokens of text are fewer than one window of {length}")

    @classmethod
    def of(cls, texts: Iterable[str], tokenizer: Any, length: int, *, seed: int) -> "PackedText":
        """Encode texts, with the tokenizer's end mark after each."""
        parts: list[Ids] = []
        end = np.array([tokenizer.eos_token_id], np.int32)
        some: list[str] = []

        def encode() -> None:
            for ids in tokenizer(some, add_special_tokens=False)["input_ids"] if some else ():
                parts.extend((np.array(ids, np.int32), end))
            some.clear()

        for text in texts:
            some.append(text)
            if len(some) == 1000:
                encode()
        encode()
        return cls(np.concatenate(parts) if parts else np.empty(0, np.int32), length, seed=seed)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: tuple[int, int]) -> Encoded:
        epoch, index = item
        room = len(self.ids) - self.count * self.length
        begin = int(generator(self.seed, "windows", epoch).integers(room + 1)) + index * self.length
        return Encoded(self.ids[begin : begin + self.length], 0, index)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(windows,) tokens of each."""
        return np.full(self.count, self.length, np.int64)


def collate(rows: Sequence[Encoded], *, pad: int) -> "dict[str, Tensor]":
    """Pad rows on the right into a batch.

    Args:
        rows: B of them.
        pad: the id to fill up with; it is never trained, even if it is that of another token.

    Returns:
        `input_ids`, `attention_mask`, `labels` (B, L) int64, where labels are -100 on every token that is
        not trained, and `ids` (B,) the rows' numbers. L is a multiple of 8.
    """
    import torch

    length = -(-max(len(row.ids) for row in rows) // PAD_TO) * PAD_TO
    ids = np.full((len(rows), length), pad, np.int64)
    mask = np.zeros((len(rows), length), np.int64)
    labels = np.full((len(rows), length), IGNORED, np.int64)
    for place, row in enumerate(rows):
        end = len(row.ids)
        ids[place, :end], mask[place, :end] = row.ids, 1
        labels[place, row.start : end] = row.ids[row.start :]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    batch["ids"] = np.array([row.number for row in rows], np.int64)
    return {name: torch.from_numpy(value) for name, value in batch.items()}
