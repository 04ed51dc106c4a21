"""The unigram language models of a collection's documents (Ma et al. 2021, PROP, section 3).

With c(w, D) the count of word w in document D, |D| all its words, p_C the collection's model and mu the mean
of |D| over the documents, Dirichlet smoothing gives

    P(w|D) = (c(w, D) + mu p_C(w)) / (|D| + mu)

for the words of the vocabulary: those that occur at least `floor` times in the collection. As in the released
code |D| counts the rarer words too, so that the probabilities add up to less than 1 where a document has
such words, and p_C is by default made of document frequencies, df(w) / sum of df, instead of occurrences.

A frequent word says little about a document. word2vec's subsampling (Mikolov et al. 2013, as in its code)
keeps a drawn word with probability min(1, sqrt(t / f) + t / f), f being its share of the collection's words.

Words may be Porter stems. A stem is written as one of its forms, with a probability proportional to the
logarithm of the form's count plus one.
"""

from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.metrics.porter import stem
from prop_ir.alias import alias_table
from prop_ir.options import SamplerOptions

if TYPE_CHECKING:
    from prop_ir.store import Store

ROWS = 4096  # documents read at once

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# V words in the vocabulary, numbered by falling frequency: what is drawn most lies close together in memory.


class LanguageModel(NamedTuple):
    """The models of all documents of a store in flat arrays, which compiled code reads as they are."""

    number: NDArray[np.int32]
    """(types,) the word that a type of the store counts as; V where it is left out"""
    mu: float
    """the mean of |D|"""
    mass: Floats
    """(V,) mu p_C(w)"""
    keep: Floats
    """(V,) probability that a drawn word stays, in (0, 1]"""
    table: NDArray[np.uint64]
    """(V,) alias table of p_C, or of p_C keep, as the sampler needs it"""
    rest: float
    """sum of mass * keep: the background's part in a document's subsampled model"""
    form_offsets: NDArray[np.int64]
    """(V + 1,) the forms of word w are those from form_offsets[w] to form_offsets[w + 1]"""
    forms: NDArray[np.uint32]
    """types of the store, word by word"""
    form_reach: Floats
    """running sum of the forms' weights within a word"""

    def counts(self, words: NDArray[np.uint32]) -> Ints:
        """c(w, D) for the vocabulary, (V,), of a document's types."""
        return np.bincount(self.number[words], minlength=len(self.mass) + 1)[:-1]

    def probabilities(self, words: NDArray[np.uint32]) -> Floats:
        """P(w|D) for the vocabulary, (V,).

        Of the documents "a a b" and "b c" with all words kept, the first has 0.477273 for a, 0.409091 for b
        and 0.113636 for c.

        Args:
            words: the document's types in the store, all of them.
        """
        return (self.counts(words) + self.mass) / (len(words) + self.mu)

    def subsampled(self, words: NDArray[np.uint32]) -> Floats:
        """What words are drawn from, (V,): P(w|D) keep(w), made to add up to 1."""
        law = self.probabilities(words) * self.keep
        return law / law.sum()


def language_model(store: "Store", options: SamplerOptions) -> LanguageModel:
    """The models of a store's documents.

    Args:
        store: counts of a collection.
        options: background, floor, keep, stem; and sampler, for which background the alias table is.

    Raises:
        UserError: no word reaches the floor.
    """
    types = len(store.types)
    groups = _stems(store.types) if options.stem else np.arange(types)
    ctf = np.bincount(groups, weights=store.ctf).astype(np.int64) if types else np.zeros(0, np.int64)
    kept = np.flatnonzero(ctf >= options.floor)
    total = int(store.word_counts.sum())
    if not len(kept):
        raise UserError(
            f"{store.folder}: no word occurs {options.floor} times in these {len(store):,} documents with "
            f"{total:,} words; choose a lower floor"
        )
    kept = kept[np.argsort(-ctf[kept], kind="stable")]
    V = len(kept)
    place = np.full(len(ctf), V, np.int32)
    place[kept] = np.arange(V)
    number = place[groups]

    background = ctf if options.background == "ctf" else store.df
    if options.background == "df" and options.stem:
        background = _document_frequencies(store, groups, len(ctf))
    mu = total / len(store)
    mass = mu * background[kept] / background[kept].sum()
    t_over_f = options.keep * total / ctf[kept]
    keep = np.minimum(1.0, np.sqrt(t_over_f) + t_over_f) if options.keep else np.ones(V)
    table = alias_table(mass if options.sampler == "topk500" else mass * keep)

    forms = np.argsort(number, kind="stable")[: np.count_nonzero(number < V)].astype(np.uint32)
    form_offsets = np.concatenate([[0], np.cumsum(np.bincount(number[forms], minlength=V))])
    weights = np.log(store.ctf[forms] + 1.0)
    running = np.concatenate([[0.0], np.cumsum(weights)])
    form_reach = running[1:] - np.repeat(running[form_offsets[:-1]], np.diff(form_offsets))
    return LanguageModel(
        number, mu, mass, keep, table, float((mass * keep).sum()), form_offsets, forms, form_reach
    )


def _stems(types: list[str]) -> Ints:
    """A number for each type's stem, in the order of first appearance."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(stem(word), len(seen)) for word in types], np.int64)


def _document_frequencies(store: "Store", groups: Ints, count: int) -> Ints:
    """How many documents have a word of each group; the sum over its forms would count some twice."""
    found, last = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    for first in range(0, len(store), ROWS):
        flat, offsets = store.gather("words", range(first, min(first + ROWS, len(store))))
        _meet(flat, offsets, groups, first, found, last)
    return found


@numba.njit(cache=True)
def _meet(flat: NDArray[np.uint32], offsets: Ints, groups: Ints, first: int, found: Ints, last: Ints) -> None:
    for r in range(len(offsets) - 1):
        for word in flat[offsets[r] : offsets[r + 1]]:
            group = groups[word]
            found[group] += last[group] != first + r
            last[group] = first + r
