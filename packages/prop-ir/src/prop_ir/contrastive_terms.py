"""Word sets of contrastive terms, drawn by a model's attention (Ma et al. 2021, B-PROP, section 3).

A word's weight a in a document is the attention that [CLS] pays it, summed over its occurrences
(attention.py). With v = a / (a + 0.01), or another saturation,

    p_D(w) = v_w / sum of v                    the document's distribution
    p_R(w) ~ mean of v_w over all documents    that of a random document
    c_w    = min(100, -p_D(w) log2 p_R(w))     what the document says and a random one does not

Words are drawn without replacement from softmax(c / T), and a set's score is the sum of c over its words.

In a document of some hundred words c is of order 0.05, and a softmax of such numbers at T = 1, as in the
released code, is all but uniform: all that is learnt then comes from which set is called the better one. A
lower temperature, or `linear` (c / sum of c), draws sharper.

Here words are those of the store, without stop words, which the released code leaves in. A stem is written as
one of its forms, which the released code forgets.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import NDArray

from nonet.data.draws import stream, uniform_at
from nonet.data.shards import Shards
from nonet.errors import UserError
from prop_ir.language_model import ROWS, LanguageModel
from prop_ir.options import SamplerOptions
from prop_ir.pairs import ATTEMPTS, PAIR, UNIT, PairBatch, Tally, find, order, pair_ends, write_forms

if TYPE_CHECKING:
    from prop_ir.store import Store

LEAST = 10  # different words that a document needs
MOST = 100.0  # a contrastive score at most
KIND = "prop-ir attention"
SATURATIONS = {"ratio": 0, "sqrt": 1, "logistic": 2}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ContrastiveTerms:
    """The attention that each document's words get, as `prop-ir bprop-attn` wrote it; pickles as its folder.

    Args:
        folder: shards with the columns `types` (uint32) and `weights` (float32), a row for each document.

    Raises:
        UserError: other shards, or incomplete ones.
    """

    def __init__(self, folder: Path | str) -> None:
        self.shards = Shards(folder)
        if self.shards.meta.get("kind") != KIND:
            raise UserError(f"{self.shards.folder}: no attention weights; make them with prop-ir bprop-attn")

    def __len__(self) -> int:
        return len(self.shards)

    def check(self, store: "Store") -> None:
        """Refuse weights of another store's documents.

        Raises:
            UserError: they are.
        """
        if self.shards.meta["store"] != fingerprint(store):
            raise UserError(
                f"{self.shards.folder}: weights of another store than {store.folder}; run bprop-attn on it"
            )

    def gather(self, rows: Ints) -> tuple[NDArray[np.uint32], NDArray[np.float32], Ints]:
        """Types, their weights, and (R + 1,) where each document begins in both."""
        found = [self.shards[int(row)] for row in rows]
        offsets = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(row["types"]) for row in found], out=offsets[1:])
        types = [np.zeros(0, np.uint32), *(row["types"] for row in found)]
        weights = [np.zeros(0, np.float32), *(row["weights"] for row in found)]
        return np.concatenate(types), np.concatenate(weights), offsets

    def random(self, model: LanguageModel, saturation: str) -> tuple[Floats, Ints]:
        """What a random document is about, and how many different words each document has.

        Args:
            model: numbers the words.
            saturation: see `SamplerOptions`.

        Returns:
            p_R: (V,), and (documents,) counts.
        """
        V = len(model.mass)
        total, amounts, sizes = np.zeros(V), np.zeros(V + 1), [np.zeros(0, np.int64)]
        for first in range(0, len(self), ROWS):
            types, weights, offsets = self.gather(np.arange(first, min(first + ROWS, len(self))))
            sizes.append(
                _add_saturated(types, weights, offsets, model.number, SATURATIONS[saturation], amounts, total)
            )
        if not total.any():
            raise UserError(f"{self.shards.folder}: no word has any attention; run bprop-attn again")
        return total / total.sum(), np.concatenate(sizes)


def fingerprint(store: "Store") -> dict[str, object]:
    """What tells stores apart."""
    return {
        "tokenizer": store.tokenizer_hash, "documents": len(store), "words": int(store.word_counts.sum()),
        "types": len(store.types),
    }  # fmt: skip


def contrastive_scores(
    weights: Floats, random: Floats, *, saturation: str = "ratio", contrast: str = "entropy"
) -> Floats:
    """c_w of one document's words.

    Args:
        weights: (n,) the words' attention.
        random: (n,) their p_R.
        saturation: ratio, sqrt or logistic.
        contrast: entropy or subtract.

    Returns:
        (n,) float64 in [0, 100].
    """
    scores = np.array(weights, np.float64)
    _contrast(scores, np.asarray(random, np.float64), SATURATIONS[saturation], contrast == "entropy")
    return scores


def draw_contrastive_pairs(
    model: LanguageModel,
    random: Floats,
    terms: tuple[NDArray[np.uint32], NDArray[np.float32], Ints],
    rows: Ints,
    firsts: Ints,
    each: int,
    *,
    options: SamplerOptions,
    lengths: Floats,
    seed: int,
    epoch: int,
    amounts: Floats,
) -> PairBatch:
    """Draw pairs for R documents; see `draw_pairs` for what is not said here.

    Args:
        model: numbers the words and writes stems.
        random: (V,) p_R.
        terms: types, weights and offsets of the documents.
        rows: (R,) their numbers.
        firsts: (R,) number of the first pair of each.
        each: pairs of a document.
        options: saturation, contrast, normalise, temperature, ties.
        lengths: from `length_reach`.
        seed: of all draws.
        epoch: likewise.
        amounts: (V + 1,) zeros, and zeros again afterwards.
    """
    scale = 1.0 / options.temperature if options.normalise == "softmax" else 0.0
    drawn, scores, ends, tally = _contrastive_pairs(
        model, random, *terms, rows, firsts, each, SATURATIONS[options.saturation],
        options.contrast == "entropy", scale, lengths, options.ties == "drop", seed, epoch, amounts,
    )  # fmt: skip
    account = Tally(
        len(scores[0]), drawn.size, drawn.size, int(tally[0]), int(tally[1]), len(rows), float(len(rows))
    )
    return PairBatch(ends, drawn[0], drawn[1], scores[0], scores[1], account)


@numba.njit(cache=True, error_model="numpy")
def _gather_amounts(types, weights, number, amounts, support):
    """Sum a document's weights by word into `amounts`; how many words have any stand in `support`."""
    size = 0
    for i in range(len(types)):
        w, weight = number[types[i]], weights[i]
        if weight > 0 and w < len(amounts) - 1:
            support[size] = w
            size += amounts[w] == 0
            amounts[w] += weight
    return size


@numba.njit(cache=True, error_model="numpy")
def _saturated(a, saturation):
    if saturation == 1:
        return np.sqrt(a)
    return 1.0 / (1.0 + np.exp(-200.0 * (a - 0.02))) if saturation == 2 else a / (a + 0.01)


@numba.njit(cache=True, error_model="numpy")
def _add_saturated(types, weights, offsets, number, saturation, amounts, total):
    """Add every document's v to `total`; (R,) how many different words each has."""
    sizes = np.zeros(len(offsets) - 1, np.int64)
    support = np.empty(np.max(offsets[1:] - offsets[:-1]), np.uint32)
    for r in range(len(sizes)):
        part = slice(offsets[r], offsets[r + 1])
        sizes[r] = _gather_amounts(types[part], weights[part], number, amounts, support)
        for w in support[: sizes[r]]:
            total[w] += _saturated(amounts[w], saturation)
            amounts[w] = 0.0
    return sizes


@numba.njit(cache=True, error_model="numpy")
def _contrast(scores, random, saturation, entropy):
    """Turn attention into contrastive scores, in place."""
    total = 0.0
    for i in range(len(scores)):
        scores[i] = _saturated(scores[i], saturation)
        total += scores[i]
    for i in range(len(scores)):
        p = scores[i] / total
        scores[i] = min(MOST, -p * np.log2(random[i])) if entropy else max(0.0, p - random[i])


@numba.njit(cache=True, error_model="numpy")
def _contrastive_pairs(
    model, random, types, weights, offsets, rows, firsts, each, saturation, entropy, scale, lengths,
    drop_ties, seed, epoch, amounts,
):  # fmt: skip
    """Words (2, all), scores (2, pairs), better sets first; the pairs' offsets; ties, and unresolved ones."""
    R = len(rows)
    ends = pair_ends(lengths, rows, firsts, each, seed, epoch)
    words = np.empty((2, ends[-1]), np.uint32)
    scores = np.empty((2, R * each), np.float64)
    tally = np.zeros(2, np.float64)
    room = np.max(offsets[1:] - offsets[:-1]) if R else 0
    support, taken = np.empty(room, np.uint32), np.zeros(room, np.bool_)
    contrast, law, reach = np.empty(room), np.empty(room), np.empty(room)

    for r in range(R):
        part = slice(offsets[r], offsets[r + 1])
        size = _gather_amounts(types[part], weights[part], model.number, amounts, support)
        for i in range(size):
            w = support[i]
            contrast[i], law[i], amounts[w] = amounts[w], random[w], 0.0
        _contrast(contrast[:size], law[:size], saturation, entropy)
        _sampling_law(contrast[:size], scale, law, reach)
        numbers = stream(seed, epoch, rows[r], PAIR)
        for pair in range(r * each, (r + 1) * each):
            at = (firsts[r] + pair - r * each) << 32
            first, last = ends[pair], ends[pair + 1]
            again = last - first >= size  # too few words to leave any out
            for _ in range(ATTEMPTS if drop_ties else 1):
                for side in range(2):
                    score = 0
                    for k in range(first, last):
                        at += 2
                        i = find(reach, size, uniform_at(numbers, at) * reach[size - 1])
                        if taken[i] and not again:
                            i = _untaken(law[:size], taken, uniform_at(numbers, at + 1))
                        taken[i] = True
                        words[side, k] = support[i]
                        score += int(contrast[i] / UNIT)
                    taken[:size] = False
                    scores[side, pair] = score * UNIT
                if scores[0, pair] != scores[1, pair]:
                    break
                tally[0] += 1
            else:
                tally[1] += 1
            order(words, scores, pair, first, last)
            write_forms(model, words, first, last, numbers, at + 2)
    return words, scores, ends, tally


@numba.njit(cache=True, error_model="numpy")
def _sampling_law(contrast, scale, law, reach):
    """Fill weights and their running sum: exp(c scale), or c itself if scale is 0."""
    top = np.max(contrast)
    total = 0.0
    for i in range(len(contrast)):
        if scale > 0:
            law[i] = np.exp((contrast[i] - top) * scale)
        else:
            law[i] = contrast[i] if top > 0 else 1.0
        total += law[i]
        reach[i] = total


@numba.njit(cache=True, error_model="numpy")
def _untaken(law, taken, u):
    """A place that is not taken, by the weights of those that are not.

    The law of drawing without replacement: a first draw that meets a taken place, and then this one, give
    place i the probability law_i + taken law_i / (1 - taken) = law_i / (1 - taken).
    """
    left, free = 0.0, 0
    for i in range(len(law)):
        if not taken[i]:
            left += law[i]
            free += 1
    x, last = u * left, 0
    even = u * free
    for i in range(len(law)):
        if not taken[i]:
            x -= law[i]
            even -= 1.0
            last = i
            if x < 0 if left > 0 else even < 0:  # where all that is left has no weight, each is as good
                return i
    return last
