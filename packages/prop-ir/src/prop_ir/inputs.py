"""What a cross-encoder reads: a query and a document between a tokenizer's special pieces.

BERT's `[CLS] query [SEP] document [SEP]`, RoBERTa's `<s> query </s></s> document </s>`, and whatever else a
tokenizer's own template for pairs says. A pair that is too long loses pieces at the end of the document
(section 2.3 of the released code); a query that leaves less than 64 pieces for it is cut first (ours).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from prop_ir.options import LEAST_DOCUMENT

Ids = NDArray[np.int64]


class Joined(NamedTuple):
    """One pair as the model reads it."""

    ids: Ids
    """(L,) pieces"""
    segments: Ids
    """(L,) token types: 0 for query, 1 for document in BERT; all 0 where a model has none"""
    document: slice
    """where the document's pieces are"""


@dataclass(frozen=True)
class PairTemplate:
    """The special pieces before, between and after query and document, with their token types."""

    before: tuple[int, ...]
    """pieces before the query"""
    between: tuple[int, ...]
    """pieces between query and document"""
    after: tuple[int, ...]
    """pieces after the document"""
    types: tuple[tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]
    """token types: before, the query's, between, the document's, after"""

    @classmethod
    def of(cls, tokenizer: Any) -> "PairTemplate":
        """Find a tokenizer's template by what it does with a pair of one piece each.

        Args:
            tokenizer: of transformers.

        Raises:
            UserError: its pairs have no recognisable form.
        """
        special = set(tokenizer.all_special_ids)
        plain = [
            ids[0]
            for text in ("a", "b", "the", "0")
            if len(ids := tokenizer(text, add_special_tokens=False)["input_ids"]) == 1
            and ids[0] not in special
        ]
        if not plain:
            raise UserError("this tokenizer knows none of the pieces 'a', 'b', 'the', '0': train it on text")
        text = tokenizer.decode(plain[:1]).strip()
        pair = tokenizer(text, text, return_token_type_ids=True)
        ids, types = list(pair["input_ids"]), list(pair["token_type_ids"])
        places = [place for place, piece in enumerate(ids) if piece == plain[0]]
        if len(places) != 2:
            raise UserError(
                "this tokenizer joins pairs in a form that a query and a document cannot be told apart in"
            )
        q, d = places
        return cls(
            tuple(ids[:q]), tuple(ids[q + 1 : d]), tuple(ids[d + 1 :]),
            (tuple(types[:q]), types[q], tuple(types[q + 1 : d]), types[d], tuple(types[d + 1 :])),
        )  # fmt: skip

    @cached_property
    def special(self) -> int:
        """How many special pieces a pair has."""
        return len(self.before) + len(self.between) + len(self.after)

    def fit(self, query: int, document: int, max_length: int) -> tuple[int, int]:
        """Pieces of query and document that fit: the document is cut at its end, a very long query too.

        Args:
            query: pieces of the query.
            document: pieces of the document.
            max_length: pieces of the whole pair, special ones included.

        Raises:
            UserError: no room for anything.
        """
        room = max_length - self.special
        if room < 2:
            raise UserError(f"max_length {max_length} leaves no room beside {self.special} special pieces")
        query = min(query, max(room - min(document, LEAST_DOCUMENT), room // 2, 1))
        return query, min(document, room - query)

    def join(self, query: Ids, document: Ids, max_length: int) -> Joined:
        """One pair, cut to `max_length` pieces.

        Args:
            query: (q,) piece ids without special ones.
            document: (d,) likewise.
            max_length: pieces of the whole pair.
        """
        q, d = self.fit(len(query), len(document), max_length)
        first = len(self.before) + q + len(self.between)
        ids = np.concatenate([self.before, query[:q], self.between, document[:d], self.after]).astype(
            np.int64
        )
        before, of_query, between, of_document, after = self.types
        segments = np.concatenate(
            [before, np.full(q, of_query), between, np.full(d, of_document), after]
        ).astype(np.int64)
        return Joined(ids, segments, slice(first, first + d))
