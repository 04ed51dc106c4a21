"""A store's pairs of representative word sets, by (epoch, document, number), from any process (ours)."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.draws import uniform
from nonet.errors import UserError
from prop_ir.contrastive_terms import LEAST, ContrastiveTerms, draw_contrastive_pairs
from prop_ir.language_model import ROWS, language_model
from prop_ir.options import SamplerOptions
from prop_ir.pairs import SHORT, Pair, PairBatch, length_reach
from prop_ir.representative_words import draw_pairs
from prop_ir.store import Store

__all__ = ["Pair", "PairBatch", "PairSampler"]

SKIPPED = 0.8  # probability that a short document is left out of an epoch
FEW_WORDS = 1_000_000  # of a collection, below which t = 1e-4 takes away most of what is drawn

Ints = NDArray[np.int64]


class PairSampler:
    """Draws pairs of word sets; one pair at a time or many, the pairs are the same.

    It pickles as the store's folder and the collection's model, some 40 bytes a word, and is not for several
    threads at once.

    Args:
        store: the documents.
        options: how words are drawn.
        seed: of all draws.
        terms: attention weights of the store's documents, for the sampler `bprop`.

    Attributes:
        documents: int64, ascending; those that can be drawn from.
        notices: what a user should know about these options on this collection, a line each.

    Raises:
        UserError: no word reaches the floor, no document can be drawn from, or terms do not fit.
    """

    def __init__(
        self, store: Store, options: SamplerOptions, *, seed: int, terms: ContrastiveTerms | None = None
    ) -> None:
        self.store, self.options, self.seed, self.terms = store, options, seed, terms
        self.lengths = length_reach(options.mean_length)
        self.notices: list[str] = []
        if options.sampler == "bprop":
            if terms is None:
                raise UserError("the sampler bprop needs attention weights: run prop-ir bprop-attn first")
            terms.check(store)
            self.model = language_model(store, replace(options, floor=1))
            self.random, sizes = terms.random(self.model, options.saturation)
            self._can = sizes >= LEAST
            reason = f"has {LEAST} different words with attention"
        else:
            self.model = language_model(store, options)
            self._can = self._has_words()
            reason = f"has a word that occurs {options.floor} times in the collection"
        self.documents: Ints = np.flatnonzero(self._can)
        if not len(self.documents):
            raise UserError(f"{store.folder}: none of {len(store):,} documents {reason}; all are left out")
        if left := len(store) - len(self.documents):
            self.notices.append(f"{left:,} of {len(store):,} documents are left out; none of them {reason}")
        self._advise()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_scratch"}

    def pair(self, row: int, epoch: int, number: int) -> Pair:
        """One pair.

        Args:
            row: the document, one of `documents`.
            epoch: the pass over the collection, from 0 on.
            number: which pair of the document, from 0 on.
        """
        return self._draw(np.array([row], np.int64), np.array([number], np.int64), epoch, 1)[0]

    def pairs(self, rows: Ints, epoch: int, each: int) -> PairBatch:
        """Pairs 0 to each - 1 of every document, document by document.

        Args:
            rows: (R,) of `documents`, in any order.
            epoch: the pass over the collection, from 0 on.
            each: pairs of a document.
        """
        rows = np.asarray(rows, np.int64)
        return self._draw(rows, np.zeros(len(rows), np.int64), epoch, each)

    def skipped(self, row: int, epoch: int) -> bool:
        """Whether a document is left out of an epoch for being short."""
        return bool(
            self.store.piece_counts[row] < self.options.skip_short
            and uniform(self.seed, epoch, row, SHORT, 0) < SKIPPED
        )

    def rows(self, epoch: int) -> Ints:
        """The documents of an epoch, ascending: those of `documents` that are not skipped."""
        short = self.documents[self.store.piece_counts[self.documents] < self.options.skip_short]
        out = [row for row in short.tolist() if self.skipped(row, epoch)]
        return np.setdiff1d(self.documents, np.array(out, np.int64), assume_unique=True)

    def _draw(self, rows: Ints, firsts: Ints, epoch: int, each: int) -> PairBatch:
        if not self._can[rows].all():
            row = int(rows[~self._can[rows]][0])
            raise ValueError(f"document {row} has no words to draw from; see `documents`")
        if self.terms is not None:
            return draw_contrastive_pairs(
                self.model, self.random, self.terms.gather(rows), rows, firsts, each, options=self.options,
                lengths=self.lengths, seed=self.seed, epoch=epoch, amounts=self._zeros(np.float64),
            )  # fmt: skip
        flat, offsets = self.store.gather("words", rows)
        return draw_pairs(
            self.model, flat, offsets, rows, firsts, each, sampler=self.options.sampler, lengths=self.lengths,
            drop_ties=self.options.ties == "drop", seed=self.seed, epoch=epoch, counts=self._zeros(np.int32),
        )  # fmt: skip

    def _zeros(self, dtype: type[np.generic]) -> NDArray[Any]:
        """Scratch of a number for each word, kept: what draws leave it zeroed."""
        if "_scratch" not in self.__dict__:
            self._scratch = np.zeros(len(self.model.mass) + 1, dtype)
        return self._scratch

    def _has_words(self) -> NDArray[np.bool_]:
        """(documents,) whether a document has a word of the vocabulary."""
        if self.options.floor == 1:
            return self.store.word_counts > 0
        V, found = len(self.model.mass), np.zeros(len(self.store), bool)
        for first in range(0, len(found), ROWS):
            rows = np.arange(first, min(first + ROWS, len(found)))
            flat, offsets = self.store.gather("words", rows)
            known = np.concatenate([[0], np.cumsum(self.model.number[flat] < V)])
            found[rows] = np.diff(known[offsets]) > 0
        return found

    def _advise(self) -> None:
        options, total = self.options, int(self.store.word_counts.sum())
        if options.sampler in ("exact", "topk500") and 0 < options.keep < 1e-3 and total < FEW_WORDS:
            ctf = np.bincount(self.model.number, weights=self.store.ctf)[: len(self.model.mass)]
            share = float((ctf * self.model.keep).sum() / ctf.sum())
            self.notices.append(
                f"a collection of {total:,} words is small for keep {options.keep:g}: of the words in "
                f"documents {share:.0%} stay, mostly rare ones; consider keep 0.001"
            )
