"""Texts as rows to pre-train on: encoded once, cut or packed, kept in memory or in files (ours).

Files are shards of `nonet.data.shards`, which are mapped, not read: a corpus may be larger than memory. Of
each row only its length and its number in the order of an epoch are held.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from keyphrase_plm.subsets import place
from nonet.data.shard_index import INDEX, read_index
from nonet.data.shards import Shards, ShardWriter

SHORTEST = 8
"""pieces of the shortest row: what is left of a text behind the cut is dropped if it is shorter"""
BLOCK = 4096
"""texts that are encoded together; packed rows end with their block, so that each block stands for itself"""


class TextRows(Sequence[dict[str, Any]]):
    """Some rows of a folder of shards, for `Examples`; it pickles as the folder's name and the numbers.

    Args:
        shards: of `write_rows`.
        numbers: (n,) int64, which of its rows; None: all.
    """

    def __init__(self, shards: Shards, numbers: np.ndarray | None = None) -> None:
        self.shards = shards
        self.numbers = np.arange(len(shards), dtype=np.int64) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        """`ids` int32 and `size`, as `encode_texts` gives."""
        return _row(self.shards[int(self.numbers[index])]["ids"])

    @property
    def lengths(self) -> np.ndarray:
        """(n, 2) int64: pieces in and out of each row; no row is read for them."""
        lengths = self.shards.lengths("ids")[self.numbers]
        return np.stack([lengths, lengths], axis=1)


def encode_texts(
    texts: Iterable[str], tokenizer: Any, *, length: int, pack: bool = False
) -> list[dict[str, Any]]:
    """Rows of ids between the tokenizer's first and last token, in memory.

    Args:
        texts: of `read_texts`.
        tokenizer: of transformers, fast.
        length: pieces a row at most, the two ends among them; longer texts make several rows.
        pack: fill rows with text after text, the last token between them; the last row of `BLOCK` texts is
            shorter.

    Returns:
        Rows with `ids` int32 and `size`, for `Examples`.
    """
    return [
        _row(np.array(ids, np.int32))
        for block in _blocks(texts)
        for ids in _block_rows(block, tokenizer, length, pack)
    ]


def write_rows(
    texts: Iterable[str],
    tokenizer: Any,
    folder: Path,
    *,
    length: int,
    pack: bool = False,
    source: Any = None,
    bytes_per_shard: int = 256 << 20,
    progress: Callable[[int], None] = lambda texts: None,
) -> Shards:
    """The rows of `encode_texts` in files; a writing that was interrupted is gone on with.

    Args:
        texts: of `read_texts`, read once; `BLOCK` of them are held at a time.
        tokenizer: of transformers, fast.
        folder: where the files go.
        length: as in `encode_texts`.
        pack: likewise.
        source: what the texts are, as JSON values; an interrupted writing goes on for the same alone.
        bytes_per_shard: a file's size, about; so much is held before it is written.
        progress: called with the number of texts done since the last call.

    Raises:
        UserError: the folder was begun with other texts, another tokenizer, length or packing.
    """
    small = len(tokenizer) <= 1 << 16
    about = {
        "source": source, "tokenizer": _digest(tokenizer), "length": length, "pack": pack, "block": BLOCK
    }  # fmt: skip
    with ShardWriter.open(folder, about, rows_per_shard=1 << 40, bytes_per_shard=bytes_per_shard) as writer:
        if not writer.complete:
            progress(writer.position)
            for block in _blocks(islice(texts, writer.position, None)):
                for ids in _block_rows(block, tokenizer, length, pack):
                    writer.append({"ids": np.array(ids, np.uint16 if small else np.int32)})
                writer.consumed(len(block))
                progress(len(block))
    return Shards(folder)


def is_written(folder: Path) -> bool:
    """Whether `write_rows` has finished in a folder."""
    return (folder / INDEX).exists() and bool(read_index(folder)["complete"])


def hold_out(count: int, size: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows to learn from and of those kept for validation, ascending, int64.

    Args:
        count: rows.
        size: how many are kept; the first of a random order that follows from number and seed alone.
        seed: of that order.
    """
    held = np.array(sorted(heapq.nsmallest(size, range(count), lambda i: place(str(i), seed))), np.int64)
    stay = np.ones(count, bool)
    stay[held] = False
    return np.flatnonzero(stay).astype(np.int64), held


def _row(ids: np.ndarray) -> dict[str, Any]:
    return {"ids": np.asarray(ids, np.int32), "size": (len(ids), len(ids))}


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(texts)
    while block := list(islice(waiting, BLOCK)):
        yield block


def _block_rows(block: list[str], tokenizer: Any, length: int, pack: bool) -> Iterator[list[int]]:
    """The rows of some texts, which the tokenizer encodes together on all cores."""
    first, *_, last = tokenizer("a")["input_ids"]
    room = length - 2
    held: list[int] = []
    for ids in tokenizer(block, add_special_tokens=False, verbose=False)["input_ids"]:
        if pack:
            held += [last, *ids] if held else ids
            while len(held) >= room:
                yield [first, *held[:room], last]
                held = held[room:]
            continue
        for start in range(0, len(ids), room):
            if start == 0 or len(ids) - start >= SHORTEST:
                yield [first, *ids[start : start + room], last]
    if held:
        yield [first, *held, last]


def _digest(tokenizer: Any) -> str:
    """What tells a vocabulary from others: 16 hexadecimal digits of its pieces in order."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return hashlib.sha256("\n".join(map(str, pieces)).encode()).hexdigest()[:16]
