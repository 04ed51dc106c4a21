"""`make bench-prop-ir`: documents a second, from a document's words to ten scored pairs of word sets.

The peer draws as the released code of PROP does, restated from the description of its algorithm with its own
structure and costs: a document's words looked up in a list of the vocabulary, a dictionary of scores sorted
by value, and for every drawn word `numpy.random.choice` over a list made of that dictionary, drawn again
until subsampling keeps it. Its table of 10^8 slots for the collection's words is made by NumPy, not timed.
Ours draws by the same law (`topk500`); the last columns have both of our samplers on all documents at once.

Before anything is timed P(w|D) of every word is the same to 1e-12 on both sides, and so is the share of drawn
words that occur in the document, within four standard deviations of the difference.

Documents are Wikipedia's in length and in the number of words: those of a local checkout's
`data/wiki_info/wiki_toy.data` if it is named (--data), else made up by Zipf's law. The vocabulary is padded
with words that no document has, as the peer's time depends on its size. One core.
"""

import argparse
import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.harness import Row, save, table, versus
from numpy.typing import NDArray

from prop_ir.language_model import language_model
from prop_ir.options import SamplerOptions
from prop_ir.pairs import PairBatch
from prop_ir.word_sets import PairSampler
from prop_ir.words import Words

SEED = 0
FLOOR, KEEP, PAIRS, LAMBDA = 10, 1e-4, 10, 3
SLOTS = 10**8
CANDIDATES = 500
PADDED = (
    (0, 30),
    (30_000, 4),
    (300_000, 1),
)  # words more in the vocabulary, documents that the peer is given


class Collected:
    """Documents and counts with the face of `prop_ir.store.Store` that sampling looks at."""

    def __init__(self, documents: Iterable[list[str]], padding: int) -> None:
        texts = list(documents)
        number: dict[str, int] = {}
        self.rows = [
            np.array([number.setdefault(word, len(number)) for word in text], np.uint32) for text in texts
        ]
        self.types = [*number, *(f"padding{i}" for i in range(padding))]
        self.ctf = np.bincount(np.concatenate(self.rows), minlength=len(self.types))
        self.df = np.bincount(
            np.concatenate([np.unique(row) for row in self.rows]), minlength=len(self.types)
        )
        self.ctf[len(number) :], self.df[len(number) :] = FLOOR, 1
        self.word_counts = np.array([len(row) for row in self.rows])
        self.piece_counts, self.folder = self.word_counts, "documents"

    def __len__(self) -> int:
        return len(self.rows)

    def words(self, row: int) -> NDArray[np.uint32]:
        """A document's types."""
        return self.rows[row]

    def gather(self, name: str, rows: Any) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Those of several documents, and where each begins."""
        found = [self.rows[row] for row in rows]
        return np.concatenate(found), np.cumsum([0, *map(len, found)])


class Counts(NamedTuple):
    """What the released code reads from its files."""

    tf: list[dict[str, int]]
    sizes: list[int]
    normalized_df: dict[str, float]
    kept: dict[str, float]
    mean: float
    slots: NDArray[np.uint32]
    """a word's number as often as its share says"""


def counts_of(store: Collected, slots: int) -> Counts:
    """The same counts as dictionaries."""
    names = store.types
    tf = [dict(Counter(names[t] for t in row.tolist())) for row in store.rows]
    known = [t for t in range(len(names)) if store.ctf[t] >= FLOOR]
    total, words = int(store.df[known].sum()), int(store.word_counts.sum())
    normalized = {names[t]: int(store.df[t]) / total for t in known}
    f = {names[t]: int(store.ctf[t]) / words for t in known}
    kept = {word: math.sqrt(KEEP / share) + KEEP / share for word, share in f.items()}
    ends = np.round(np.cumsum(list(normalized.values())) * slots).astype(np.int64)
    table = np.repeat(np.arange(len(known), dtype=np.uint32), np.diff(ends, prepend=0))
    return Counts(tf, store.word_counts.tolist(), normalized, kept, words / len(store), table)


def peer(counts: Counts, rows: Iterable[int]) -> list[list[list[tuple[list[str], float]]]]:
    """Pairs of scored word sets of each document, as the released code draws them."""
    found = []
    for row in rows:
        lengths = []
        for _ in range(PAIRS):
            while not (length := np.random.poisson(LAMBDA)):
                pass
            lengths.append(length)
        tf, size, mu = counts.tf[row], counts.sizes[row], counts.mean
        own = [word for word in list(tf) if word in list(counts.normalized_df)]
        scores = {word: (tf[word] + mu * counts.normalized_df[word]) / (size + mu) for word in own}
        more = CANDIDATES - len(own) if len(own) < CANDIDATES else len(own) + 100
        vocabulary = list(counts.normalized_df)
        others = {}
        for slot in np.random.randint(0, len(counts.slots), more):
            word = vocabulary[counts.slots[slot]]
            if word in own:
                continue
            others[word] = mu * counts.normalized_df[word] / (size + mu)
        scores = dict(sorted((scores | others).items(), key=lambda item: item[1], reverse=True))
        total = sum(scores.values())
        chances = [score / total for score in scores.values()]
        pairs = []
        for length in lengths:
            sides = []
            for _ in range(2):
                drawn: list[str] = []
                while len(drawn) < length:
                    word = str(np.random.choice(list(scores), size=1, p=chances)[0])
                    if counts.kept[word] >= np.random.rand():
                        drawn.append(word)
                sides.append((drawn, sum(math.log(scores[word]) for word in drawn)))
            pairs.append(sides)
        found.append(pairs)
    return found


def same_probabilities(store: Collected, counts: Counts, rows: Iterable[int]) -> None:
    """Raise unless P(w|D) is the same to 1e-12 for every word of the vocabulary."""
    model = language_model(store, SamplerOptions("topk500", floor=FLOOR, keep=KEEP))  # type: ignore[arg-type]
    names = [store.types[t] for t in model.forms.tolist()]
    for row in rows:
        tf, size, mu = counts.tf[row], counts.sizes[row], counts.mean
        theirs = [(tf.get(word, 0) + mu * counts.normalized_df[word]) / (size + mu) for word in names]
        difference = np.abs(model.probabilities(store.words(row)) - theirs).max()
        if len(names) != len(counts.normalized_df) or not difference < 1e-12:
            raise AssertionError(f"document {row}: P(w|D) differs by {difference:.1e}")


def same_shares(
    counts: Counts, rows: list[int], mine: PairBatch, other: list[list[list[tuple[list[str], float]]]]
) -> bool | str:
    """Whether both draw as many words from the documents, but for chance."""
    inside = total = 0
    for row, pairs in zip(rows, other, strict=True):
        drawn = [word for pair in pairs for words, _ in pair for word in words]
        inside, total = inside + sum(word in counts.tf[row] for word in drawn), total + len(drawn)
    ours, theirs = mine.tally.inside / mine.tally.words, inside / total
    share = (mine.tally.inside + inside) / (mine.tally.words + total)
    spread = math.sqrt(share * (1 - share) * (1 / mine.tally.words + 1 / total))
    # words of one pair of sets and of one document's candidates go together a little
    return abs(ours - theirs) < 4 * 1.5 * spread or f"shares {ours:.3f} and {theirs:.3f} (+- {spread:.3f})"


def contest(store: Collected, padding: int, take: int, *, tiny: bool) -> Row:
    """Time both on a few documents, and our two samplers on all."""
    np.random.seed(SEED)
    counts = counts_of(store, 10**6 if tiny else SLOTS)
    rows = list(range(len(store)))
    random.Random(SEED).shuffle(rows)
    rows = sorted(rows[:take])
    same_probabilities(store, counts, rows)
    samplers = {
        name: PairSampler(store, SamplerOptions(name, floor=FLOOR, keep=KEEP, ties="second"), seed=SEED)  # type: ignore[arg-type]
        for name in ("topk500", "exact")
    }
    mine, chosen = samplers["topk500"], np.array(rows)
    row = versus(
        f"{PAIRS} pairs a document, vocabulary of {len(mine.model.mass):,}",
        lambda: mine.pairs(chosen, 0, PAIRS),
        lambda: peer(counts, rows),
        lambda ours, theirs: same_shares(counts, rows, ours, theirs),
        rounds=1 if tiny else 3,
        min_seconds=0 if tiny else 0.2,
        unit="documents",
        per_call=len(rows),
    )
    row |= {f"{name}, all documents/s": _rate(sampler, tiny) for name, sampler in samplers.items()}
    return row


def _rate(sampler: PairSampler, tiny: bool) -> float:
    """Documents a CPU second with all documents at once."""
    rows = sampler.documents if tiny else np.tile(sampler.documents, 20)
    best = math.inf
    for _ in range(1 if tiny else 5):
        start = time.process_time()
        sampler.pairs(rows, 0, PAIRS)
        best = min(best, time.process_time() - start)
    return len(rows) / max(best, 1e-9)


def made_up(count: int, words: int, types: int) -> list[list[str]]:
    """Documents by Zipf's law, half of each from a topic of its own, as words of one document go together."""
    rng = np.random.default_rng(SEED)
    names = np.array([f"word{i}" for i in range(types)])
    chances = 1 / (np.arange(types) + 20.0)
    chances /= chances.sum()
    documents = []
    for _ in range(count):
        size = max(20, int(rng.lognormal(math.log(words), 0.6)))
        topic = rng.choice(types, 200, p=chances)
        general = rng.choice(types, size - size // 2, p=chances)
        special = topic[np.minimum((200 * rng.random(size // 2) ** 2).astype(int), 199)]
        documents.append(names[rng.permutation(np.concatenate([general, special]))].tolist())
    return documents


def wiki(path: Path) -> list[list[str]]:
    """The documents of a WikiExtractor file."""
    find = Words().find
    with path.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [find(f"{record['title']}. {record['text']}") for record in records]


def main(tiny: bool = False, data: Path | None = None) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    if data is not None:
        documents = wiki(data)
    else:
        documents = made_up(12, 80, 300) if tiny else made_up(100, 2000, 30_000)
    rows = []
    for padding, take in ((0, 4), (50, 2)) if tiny else PADDED:
        rows.append(contest(Collected(documents, padding), padding, take, tiny=tiny))
    print(table(rows))
    if not tiny:
        where = "made-up documents" if data is None else data.name
        save("prop-ir", rows, table="sample", versions=("numpy", "numba"), data=where, seed=SEED)
    return rows


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--data", type=Path, help="wiki_toy.data of a checkout of the released code")
    arguments.add_argument("--tiny", action="store_true", help="the smallest size, nothing is kept")
    given = arguments.parse_args()
    main(given.tiny, given.data)
