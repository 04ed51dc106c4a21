"""Masked words on the document's side of a pair (released code, section 2.3 of what we know of it).

Whole words are taken in random order while the budget of pieces lasts: min(most, max(1, round(share *
words))) pieces, so that masked pieces are at most 15 % of the words; a word that would overflow is passed
over. Each piece then becomes the mask (80 %), another piece (10 %) or stays. Two deviations of ours: words
are those of the tokenizer's own first step, not `##`, and a replacement is an ordinary piece, never a special
one.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nonet.data.draws import below, shuffled, uniform
from nonet.errors import UserError
from prop_ir.options import MaskOptions

Ids = NDArray[np.int64]

ORDER, PIECE, OTHER = 201, 202, 203  # purposes of draws, apart from those of the sampler of word sets


@dataclass(frozen=True)
class MaskPieces:
    """What masked pieces become."""

    mask: int
    """id of the mask"""
    ordinary: Ids
    """ids that may replace a piece: no special, added or unused one"""

    @classmethod
    def of(cls, tokenizer: Any) -> "MaskPieces":
        """Those of a tokenizer of transformers.

        Raises:
            UserError: it has no mask.
        """
        if tokenizer.mask_token_id is None:
            raise UserError("this tokenizer has no mask: use --masks.share 0, or a tokenizer with one")
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        plain = [
            number
            for piece, number in tokenizer.get_vocab().items()
            if number not in special and not (piece[:1] in "[<" and "unused" in piece)
        ]
        return cls(int(tokenizer.mask_token_id), np.array(sorted(plain), np.int64))


class Masked(NamedTuple):
    """A document's pieces with masks."""

    pieces: Ids
    """(d,) with the masks in them"""
    places: Ids
    """(m,) ascending: which are masked, whatever they became"""
    labels: Ids
    """(m,) what was there"""


def mask_words(
    pieces: Ids,
    starts: NDArray[np.bool_],
    options: MaskOptions,
    into: MaskPieces,
    *,
    seed: int,
    epoch: int,
    item: int,
) -> Masked:
    """Mask whole words of a document.

    Args:
        pieces: (d,) piece ids, without special ones.
        starts: (d,) True where a word begins; the first piece begins one in any case.
        options: shares and limits.
        into: what masked pieces become.
        seed: with `epoch` and `item` it fixes every draw.
        epoch: pass over the collection.
        item: number of the pair and its member.
    """
    return Masked(
        *_mask(
            pieces, starts, options.share, options.most, options.mask, options.mask + options.random,
            into.mask, into.ordinary, seed, epoch, item,
        )
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _mask(pieces, starts, share, most, to_mask, to_other, mask, ordinary, seed, epoch, item):  # fmt: skip
    d = len(pieces)
    begins = np.empty(d + 1, np.int64)
    words = 0
    for p in range(d):
        if p == 0 or starts[p]:
            begins[words] = p
            words += 1
    begins[words] = d
    found = pieces.copy()
    if words == 0 or share == 0.0:
        return found, np.empty(0, np.int64), np.empty(0, np.int64)
    budget = min(most, max(1, int(np.rint(share * words))))
    chosen = np.zeros(d, np.bool_)
    count = 0
    for w in shuffled(words, words, seed, epoch, item, ORDER):
        length = int(begins[w + 1] - begins[w])
        if count + length <= budget:
            chosen[begins[w] : begins[w + 1]] = True
            count += length
            if count == budget:
                break
    places = np.flatnonzero(chosen)
    for place in places:
        draw = uniform(seed, epoch, item, PIECE, place)
        if draw < to_mask:
            found[place] = mask
        elif draw < to_other:
            found[place] = ordinary[below(len(ordinary), seed, epoch, item, OTHER, place)]
    return found, places, pieces[places]
