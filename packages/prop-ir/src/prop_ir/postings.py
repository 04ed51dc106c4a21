"""How often each term occurs in each document, sorted by term, for collections larger than memory (ours).

Texts are turned into numbers as they come. Whenever enough of them have gathered, their counts are sorted and
put aside on the disk; at the end, every such batch knows where its part of each term's column begins.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prop_ir.analysis import Analyser

IN_MEMORY = 1 << 24  # words that are counted at once; they take about 1.1 GB
REMEMBERED = (
    1 << 21
)  # different words, with the punctuation on them, whose terms are remembered: about 0.5 GB


class Batch(NamedTuple):
    """Counts of a run of documents, by term and then by document."""

    terms: NDArray[np.int32]
    """(t,) numbers of the terms that occur, ascending"""
    sizes: NDArray[np.int64]
    """(t,) documents with each of them"""
    documents: NDArray[np.int32]
    """(p,) rows, ascending within a term"""
    counts: NDArray[np.int32]
    """(p,) occurrences"""


class Postings:
    """Collects the terms of texts.

    Args:
        analyser: what a term is.
        folder: for the batches on the disk; it exists.
        in_memory: words that are counted at once.

    Attributes:
        terms: term -> its number, in the order of first appearance.
    """

    def __init__(self, analyser: Analyser, folder: Path, *, in_memory: int = IN_MEMORY) -> None:
        self.terms: dict[str, int] = {}
        self._pieces = _Pieces(analyser, self.terms)
        self._folder, self._in_memory = folder, in_memory
        self._words = array("i")
        self._ends = array("q")
        self._lengths: list[NDArray[np.int64]] = []
        self._batches: list[Batch | Path] = []
        self._documents = 0

    def add(self, text: str) -> None:
        """Count a document's terms; documents are numbered in this order, from 0."""
        self._words.extend(map(self._pieces.__getitem__, text.lower().split()))
        self._ends.append(len(self._words))
        if len(self._words) >= self._in_memory:
            self._put_aside()

    def lengths(self) -> NDArray[np.int64]:
        """(documents,) terms of each document; to be called when all are there."""
        if self._ends:
            self._gather()
        return np.concatenate([*self._lengths, np.zeros(0, np.int64)])

    def document_frequencies(self) -> NDArray[np.int64]:
        """(terms,) documents with each term; after `lengths`."""
        found = np.zeros(len(self.terms), np.int64)
        for batch in self.batches():
            found[batch.terms] += batch.sizes
        return found

    def batches(self) -> Iterator[Batch]:
        """The counts, batch by batch, documents ascending; after `lengths`."""
        for batch in self._batches:
            if isinstance(batch, Batch):
                yield batch
            else:
                with np.load(batch, allow_pickle=False) as arrays:
                    yield Batch(*(arrays[name] for name in Batch._fields))

    def _put_aside(self) -> None:
        """Count what is in memory and write the counts to the disk."""
        path = self._folder / f"batch-{len(self._batches):05}.npz"
        self._gather()
        np.savez(path, **self._batches[-1]._asdict())  # type: ignore[union-attr]
        self._batches[-1] = path

    def _gather(self) -> None:
        """Count what is in memory."""
        words = np.frombuffer(self._words, np.int32).astype(np.int64)
        sizes = _steps(np.frombuffer(self._ends, np.int64))
        terms_each = self._pieces.sizes()[words]
        rows = np.repeat(np.arange(len(sizes)), sizes)
        lengths = np.bincount(rows, terms_each, minlength=len(sizes)).astype(np.int64)
        keys = self._pieces.of(words, terms_each).astype(np.int64) << 32
        keys |= np.repeat(rows, terms_each)
        keys.sort()
        first = np.flatnonzero(np.diff(keys, prepend=-1))  # of each pair of term and document
        counts = np.diff(first, append=len(keys)).astype(np.int32)
        terms, documents = keys[first] >> 32, (keys[first] & 0xFFFFFFFF) + self._documents
        begins = np.flatnonzero(np.diff(terms, prepend=-1))
        self._batches.append(
            Batch(
                terms[begins].astype(np.int32), np.diff(begins, append=len(terms)),
                documents.astype(np.int32), counts,
            )
        )  # fmt: skip
        self._lengths.append(lengths)
        self._documents += len(lengths)
        self._words, self._ends = array("i"), array("q")
        if len(self._pieces) > REMEMBERED:
            self._pieces.forget()


class _Pieces(dict[str, int]):
    """Numbers of what stands between blanks; each is turned into terms once, and each word in it, too."""

    def __init__(self, analyser: Analyser, terms: dict[str, int]) -> None:
        self._analyser, self._terms = analyser, terms
        self.forget()

    def forget(self) -> None:
        """Begin anew: numbers of pieces are of no use beyond one batch."""
        self.clear()
        self._words = dict.fromkeys(self._analyser.stop_words, -1)
        self._flat, self._offsets = array("i"), array("q", [0])

    def __missing__(self, piece: str) -> int:
        for word in self._analyser.find(piece):
            number = self._words.get(word)
            if number is None:
                number = self._terms.setdefault(self._analyser.stem(word), len(self._terms))
                self._words[word] = number
            if number >= 0:
                self._flat.append(number)
        self._offsets.append(len(self._flat))
        self[piece] = number = len(self._offsets) - 2
        return number

    def sizes(self) -> NDArray[np.int64]:
        """(pieces,) terms of each piece."""
        return _steps(np.frombuffer(self._offsets, np.int64)[1:])

    def of(self, pieces: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        """The terms of pieces, one piece after the other."""
        begins = np.frombuffer(self._offsets, np.int64)[pieces]
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - (ends - sizes), sizes)
        return np.frombuffer(self._flat, np.int32)[places]


def _steps(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """How far each is above the one before it, the first above 0."""
    return ends - np.concatenate([np.zeros(1, np.int64), ends[:-1]])
