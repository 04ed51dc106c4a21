"""Pre-training examples: pairs of word sets before one document, drawn and masked anew in every epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.batching import Batches, BucketedBatches
from prop_ir.inputs import PairTemplate
from prop_ir.masking import MaskPieces, mask_words
from prop_ir.options import MaskOptions

if TYPE_CHECKING:
    from torch import Tensor

    from prop_ir.store import Store
    from prop_ir.word_sets import PairSampler

# Shapes: P pairs in a batch, L pieces of its longest row, M masked pieces in it.

Ids = NDArray[np.int64]
Item = tuple[int, int]  # epoch, index

PAD_TO = 8
"""batches are padded to a multiple of this many pieces"""


class Row(NamedTuple):
    """What the model reads of one word set and the document."""

    ids: Ids
    """(L,) pieces, some of the document's masked"""
    segments: Ids
    """(L,) token types"""
    places: Ids
    """(m,) the masked ones"""
    labels: Ids
    """(m,) what was there"""


class Example(NamedTuple):
    """One pair of word sets before the same document, masked independently."""

    document: int
    """row of the store"""
    better: Row
    """the set of the higher likelihood"""
    worse: Row
    """the other one"""


class RopData:
    """Pairs of word sets for the documents of a store.

    An item is asked for by (epoch, index), index = place of the document in `rows` * pairs + number of the
    pair; it depends on these and the seed alone, so that any worker gives the same.

    Args:
        store: pieces of the documents.
        sampler: draws the word sets.
        template: joins them with the document.
        masks: which words are masked.
        into: what they become.
        pairs: of each document in an epoch.
        max_length: pieces of a row.
        seed: of the masks.
        rows: the documents, as rows of the store, ascending.
    """

    def __init__(
        self,
        store: "Store",
        sampler: "PairSampler",
        template: PairTemplate,
        *,
        masks: MaskOptions,
        into: MaskPieces | None,
        pairs: int,
        max_length: int,
        seed: int,
        rows: Ids,
    ) -> None:
        self.store, self.sampler, self.template = store, sampler, template
        self.masks, self.into, self.pairs, self.max_length = masks, into, pairs, max_length
        self.seed, self.rows = seed, rows

    def __len__(self) -> int:
        return len(self.rows) * self.pairs

    def __getitem__(self, item: Item) -> Example:
        epoch, index = item
        row, number = int(self.rows[index // self.pairs]), index % self.pairs
        drawn = self.sampler.pair(row, epoch, number)
        pieces, starts = self.store.pieces(row).astype(np.int64), self.store.starts(row)
        key = 2 * (row * self.pairs + number)
        better, worse = (
            self._row(words, pieces, starts, epoch, key + member)
            for member, words in enumerate((drawn.positive, drawn.negative))
        )
        return Example(row, better, worse)

    def _row(self, words: Any, pieces: Ids, starts: NDArray[np.bool_], epoch: int, key: int) -> Row:
        query = np.concatenate([self.store.type_pieces(int(word)) for word in words]).astype(np.int64)
        ids, segments, document = self.template.join(query, pieces, self.max_length)
        if self.into is None or not self.masks.share:
            nothing = np.empty(0, np.int64)
            return Row(ids, segments, nothing, nothing)
        seen = ids[document]
        masked = mask_words(
            seen, starts[: len(seen)], self.masks, self.into, seed=self.seed, epoch=epoch, item=key
        )
        ids[document] = masked.pieces
        return Row(ids, segments, masked.places + document.start, masked.labels)


def collate(examples: Sequence[Example], *, padding: int = 0) -> "dict[str, Tensor]":
    """Pad pairs into a batch; rows 2i and 2i + 1 are the better and the worse set of pair i.

    Args:
        examples: P of them.
        padding: id of the padding piece.

    Returns:
        `ids` (P,) the documents, as rows of the store; `input_ids`, `token_type_ids`, `attention_mask`
        (2P, L); `masked` (M,) positions of masked pieces in the flattened (2P * L), `labels` (M,) what was
        there. All int64; L is a multiple of 8.
    """
    import torch

    rows = [row for example in examples for row in (example.better, example.worse)]
    length = -(-max(len(row.ids) for row in rows) // PAD_TO) * PAD_TO
    batch = {
        "ids": np.array([example.document for example in examples], np.int64),
        "input_ids": np.full((len(rows), length), padding, np.int64),
        "token_type_ids": np.zeros((len(rows), length), np.int64),
        "attention_mask": np.zeros((len(rows), length), np.int64),
        "masked": np.concatenate([row.places + i * length for i, row in enumerate(rows)]),
        "labels": np.concatenate([row.labels for row in rows]),
    }
    for i, row in enumerate(rows):
        batch["input_ids"][i, : len(row.ids)] = row.ids
        batch["token_type_ids"][i, : len(row.ids)] = row.segments
        batch["attention_mask"][i, : len(row.ids)] = 1
    return {name: torch.from_numpy(value) for name, value in batch.items()}


class PairBatches(Batches):
    """Batches of pairs with documents of similar length; short documents are left out of some epochs.

    An epoch that would have no documents has all of them.

    Args:
        data: the pairs.
        batch: pairs in a batch, over all devices.
        words: about how many pieces a word set has.
        seed: decides the order, together with the epoch.
        skips: whether the sampler leaves documents out; if not, it is not asked.
    """

    def __init__(self, data: RopData, batch: int, *, words: float, seed: int, skips: bool) -> None:
        room = data.max_length - data.template.special
        lengths = np.minimum(data.store.piece_counts[data.rows].astype(np.int64) + round(words), room)
        self.data, self.batch, self.seed, self.skips = data, batch, seed, skips
        self.lengths = np.repeat(lengths, data.pairs)
        self._whole = BucketedBatches(self.lengths, batch=batch, seed=seed)
        self._last: tuple[int, list[Ids]] | None = None

    def epoch(self, epoch: int) -> list[Ids]:
        """The batches of that epoch, as indices of the data set."""
        if not self.skips:
            return self._whole.epoch(epoch)
        if self._last is None or self._last[0] != epoch:
            data = self.data
            stays = np.array([not data.sampler.skipped(int(row), epoch) for row in data.rows], bool)
            kept = np.flatnonzero(np.repeat(stays if stays.any() else ~stays, data.pairs))
            found = BucketedBatches(self.lengths[kept], batch=self.batch, seed=self.seed).epoch(epoch)
            self._last = epoch, [kept[items] for items in found]
        return list(self._last[1])

    def steps(self, epoch: int) -> int:
        """How many batches that epoch has."""
        return len(self.epoch(epoch)) if self.skips else self._whole.steps(epoch)


def hold_out(documents: Ids, share: float, *, seed: int, most: int = 2000) -> tuple[Ids, Ids]:
    """Split documents into those to train on and those to validate on, both ascending, by a seeded draw.

    Args:
        documents: rows of the store.
        share: of the documents to keep for validation; at least 1 unless it is 0.
        seed: of the draw.
        most: documents kept at most.
    """
    take = min(most, max(1, int(len(documents) * share)), len(documents) - 1) if share else 0
    order = np.random.default_rng([seed, 0x5EED]).permutation(len(documents))
    return np.sort(documents[order[take:]]), np.sort(documents[order[:take]])
