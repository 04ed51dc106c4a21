"""What a worker makes of a batch of documents: word pieces, and words as numbers within the batch (ours)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import RunFailed, UserError
from prop_ir.documents import Document
from prop_ir.pieces import PieceEncoder, Pieces
from prop_ir.words import CountedWords, Words

BATCH = 256  # documents a worker gets at once, at most
CHARACTERS = 1 << 20  # after which a batch ends

NO_TEXT = "no text"
NO_WORDS = "no words but stop words"
NO_PIECES = "no word pieces"


class Batch(NamedTuple):
    """Documents that travel together."""

    documents: list[Document]
    where: str
    """the first one's place, for messages"""


class Encoded(NamedTuple):
    """What became of a batch."""

    ids: list[str]
    """of all documents"""
    reasons: list[str]
    """why a document is left out; empty for those that are kept"""
    pieces: Pieces
    """of the kept documents"""
    words: CountedWords
    """of the kept documents, types numbered within the batch"""
    df: NDArray[np.int64]
    """(types,) documents of the batch with each type"""


def batches(documents: Iterable[Document]) -> Iterator[Batch]:
    """Documents in batches of bounded size; what becomes of them does not depend on the cuts."""
    held: list[Document] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += len(document.text)
        if len(held) == BATCH or characters >= CHARACTERS:
            yield Batch(held, held[0].where)
            held, characters = [], 0
    if held:
        yield Batch(held, held[0].where)


class Encoder:
    """Turns batches into arrays; callable in any process, with the same result in each.

    Args:
        pieces: makes word pieces.
        words: finds words.
    """

    def __init__(self, pieces: PieceEncoder, words: Words) -> None:
        self.pieces, self.words = pieces, words

    def __call__(self, batch: Batch) -> Encoded:
        """Encode a batch.

        Raises:
            RunFailed: a document made the tokenizer fail; the text names it.
        """
        try:
            return self._encode(batch.documents)
        except UserError:
            raise
        except Exception:
            for document in batch.documents:
                try:
                    self._encode([document])
                except Exception as error:
                    what = f"document {document.id!r} cannot be encoded"
                    raise RunFailed(f"{document.where}: {what}: {type(error).__name__}: {error}") from error
            raise

    def _encode(self, documents: list[Document]) -> Encoded:
        reasons = [
            "" if document.text.strip() and self.words.any(document.text) else _why(document.text)
            for document in documents
        ]
        kept = [i for i, reason in enumerate(reasons) if not reason]
        pieces = self.pieces([documents[i].text for i in kept])
        lengths = np.diff(pieces.offsets)
        if (lengths == 0).any():  # the bytes stay in one row; only the offsets of nothing go
            for i, length in zip(kept, lengths.tolist(), strict=True):
                reasons[i] = "" if length else NO_PIECES
            kept = [i for i, reason in enumerate(reasons) if not reason]
            pieces = pieces._replace(offsets=np.concatenate([[0], pieces.offsets[1:][lengths > 0]]))
        words = self.words.count([documents[i].text for i in kept])
        df = np.zeros(len(words.types), np.int64)
        for begin, end in zip(words.offsets[:-1], words.offsets[1:], strict=True):
            df[words.flat[begin:end]] += 1  # a type's repetitions in one document add 1
        return Encoded([document.id for document in documents], reasons, pieces, words, df)


def _why(text: str) -> str:
    return NO_WORDS if any(map(str.isalnum, text)) else NO_TEXT
