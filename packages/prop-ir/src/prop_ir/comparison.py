"""What a re-ranker changed: which documents moved, and which words may have moved them (ours).

Two looks at a document that moved. The lexical one says what each word of the query adds to BM25: Lucene's
form, `idf tf / (tf + k1 (1 - b + b length / mean))` with `idf = log(1 + (N - df + 1/2) / (df + 1/2))`. The
other asks the re-ranker: every occurrence of a word gives way to the mask, and the score that is lost is what
the word brought (occlusion: Zeiler and Fergus 2014, section 4.2, there with patches of images).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prop_ir.analysis import Analyser
from prop_ir.documents import Document
from prop_ir.runs import Run

K1, B = 0.9, 0.4
"""parameters of BM25"""
WORDS = 80
"""different words of a document that are occluded, from its beginning: each is one more pass of the model"""

Score = Callable[[str, list[str]], Sequence[float]]
"""query and texts of documents -> their scores"""

_WORD = re.compile(r"\w+")


class Move(NamedTuple):
    """A document's ranks, from 1; None where a run does not have it."""

    document: str
    before: int | None
    after: int | None

    @property
    def shift(self) -> float:
        """How much its weight in nDCG, 1 / log2(rank + 1), grew."""
        return _weight(self.after) - _weight(self.before)

    @property
    def ranks(self) -> float:
        """How many ranks it went up; infinite where one run does not have it."""
        if self.before is None or self.after is None:
            return math.inf if self.before is None else -math.inf
        return self.before - self.after


class Span(NamedTuple):
    """A word's place in a text."""

    start: int
    end: int
    term: str
    """what the analyser makes of it; nothing of a stop word"""


@dataclass
class Statistics:
    """Of a collection, as far as some terms need them."""

    documents: int = 0
    length: int = 0
    """terms of all documents"""
    df: Counter[str] = field(default_factory=Counter)
    """documents that have a term"""

    def idf(self, term: str) -> float:
        """Lucene's weight of a term."""
        return math.log(1 + (self.documents - self.df[term] + 0.5) / (self.df[term] + 0.5))


@dataclass(frozen=True)
class Explained:
    """A document that moved, with what words brought it."""

    move: Move
    lexical: dict[str, float]
    """term of the query -> what it adds to BM25, in the query's order"""
    occluded: dict[str, float]
    """lower-cased word -> what it adds to the re-ranker's score; the largest first, either way"""


@dataclass(frozen=True)
class Change:
    """One query, before and after."""

    query: str
    text: str
    before: list[str]
    """documents from the top"""
    after: list[str]
    explained: list[Explained] = field(default_factory=list)

    def moves(self, depth: int) -> list[Move]:
        """Every document of either top, in its order after, and then in its order before."""
        before = {name: rank for rank, name in enumerate(self.before, 1)}
        after = {name: rank for rank, name in enumerate(self.after, 1)}
        names = dict.fromkeys([*self.after[:depth], *self.before[:depth]])
        return [Move(name, before.get(name), after.get(name)) for name in names]

    def moved(self, depth: int, ranks: int) -> list[Move]:
        """Documents of either top that moved so many ranks or more, the largest change of weight first."""
        found = [move for move in self.moves(depth) if abs(move.ranks) >= ranks]
        return sorted(found, key=lambda move: (-abs(move.shift), move.document))

    def size(self, depth: int) -> float:
        """How much changed: the weights of nDCG that documents gained or lost."""
        return sum(abs(move.shift) for move in self.moves(depth))


def changes(
    before: Run,
    after: Run,
    topics: Mapping[str, str],
    *,
    depth: int,
    most: int,
    queries: Collection[str] = (),
) -> list[Change]:
    """The queries that changed most, or those that are named.

    Args:
        before: the first run.
        after: the second run.
        topics: query -> text; queries without a text are left out.
        depth: ranks that count.
        most: how many queries.
        queries: these queries instead, in this order.
    """
    chosen = queries or [query for query in topics if query in before and query in after]
    found = [Change(q, topics[q], list(before.get(q, ())), list(after.get(q, ()))) for q in chosen]
    return found if queries else sorted(found, key=lambda change: -change.size(depth))[:most]


def gather(
    documents: Iterable[Document], terms: Collection[str], wanted: Collection[str], analyser: Analyser
) -> tuple[Statistics, dict[str, str]]:
    """Statistics of some terms, and the texts of some documents, in one pass over a collection."""
    statistics, texts, found, names = Statistics(), {}, frozenset(terms), frozenset(wanted)
    known: dict[str, str | None] = {}  # word -> its term if it is asked for; "" for a stop word
    for document in documents:
        if document.id in names:
            texts[document.id] = document.text
        statistics.documents += 1
        here = set()
        for piece in document.text.lower().split():
            for word in analyser.find(piece):
                if word not in known:
                    stopped = word in analyser.stop_words
                    term = "" if stopped else analyser.stem(word)
                    known[word] = term if stopped or term in found else None
                term_or_none = known[word]
                statistics.length += term_or_none != ""
                if term_or_none:
                    here.add(term_or_none)
        statistics.df.update(here)
    return statistics, texts


def lexical(query: str, text: str, statistics: Statistics, analyser: Analyser) -> dict[str, float]:
    """What each term of the query adds to a document's BM25, in the query's order; 0 where it is absent."""
    terms = analyser.terms(text)
    counts = Counter(terms)
    mean = statistics.length / max(statistics.documents, 1)
    norm = K1 * (1 - B + B * len(terms) / mean) if mean else K1
    wanted = Counter(analyser.terms(query))
    return {t: n * statistics.idf(t) * counts[t] / (counts[t] + norm) for t, n in wanted.items()}


def spans(text: str, analyser: Analyser) -> list[Span]:
    """The words of a text, with their places and terms."""
    found = []
    for match in re.finditer(r"\S+", text):
        piece = match[0].lower()
        if len(piece) != len(match[0]):  # a few capitals have a lower case of two characters
            continue
        place = 0
        for word in analyser.find(piece):
            place = piece.find(word, place)
            start = match.start() + place
            term = "" if word in analyser.stop_words else analyser.stem(word)
            found.append(Span(start, start + len(word), term))
            place += len(word)
    return found


def occlusions(query: str, text: str, score: Score, mask: str, *, words: int = WORDS) -> dict[str, float]:
    """What each word of a document adds to the re-ranker's score.

    Args:
        query: text of the query.
        text: of the document.
        score: the re-ranker.
        mask: what a word gives way to.
        words: how many different words, from the beginning.

    Returns:
        Lower-cased word -> score with it less the score without it; the largest first, either way, equal ones
        as they occur.
    """
    places: dict[str, list[re.Match[str]]] = {}
    for match in _WORD.finditer(text):
        places.setdefault(match[0].lower(), []).append(match)
    chosen = list(places)[:words]
    without = [_replaced(text, places[word], mask) for word in chosen]
    whole, *rest = score(query, [text, *without])
    added = {word: float(whole) - float(value) for word, value in zip(chosen, rest, strict=True)}
    return dict(sorted(added.items(), key=lambda entry: -abs(entry[1])))


def explain(
    change: Change,
    texts: Mapping[str, str],
    statistics: Statistics,
    analyser: Analyser,
    *,
    depth: int,
    ranks: int,
    most: int,
    score: Score | None = None,
    mask: str = "",
) -> Iterator[Explained]:
    """The documents of a query that moved most, with what their words bring.

    Args:
        change: the query.
        texts: of documents; those without text are left out.
        statistics: of the collection, for the query's terms.
        analyser: what a term is.
        depth: ranks that count.
        ranks: documents that moved by fewer are left out.
        most: how many documents.
        score: the re-ranker, for occlusions.
        mask: its tokenizer's mask.
    """
    moved = [move for move in change.moved(depth, ranks) if move.document in texts]
    for move in moved[:most]:
        text = texts[move.document]
        occluded = occlusions(change.text, text, score, mask) if score is not None else {}
        yield Explained(move, lexical(change.text, text, statistics, analyser), occluded)


def _weight(rank: int | None) -> float:
    return 0.0 if rank is None else 1 / math.log2(rank + 1)


def _replaced(text: str, places: Iterable["re.Match[str]"], mask: str) -> str:
    parts, end = [], 0
    for match in places:
        parts += [text[end : match.start()], mask]
        end = match.end()
    return "".join([*parts, text[end:]])
