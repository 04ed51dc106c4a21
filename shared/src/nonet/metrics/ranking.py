"""How good rankings are: nDCG, P, MAP, MRR, R and Success, query by query, with trec_eval's numbers.

The definitions are trec_eval 9's (NIST): ties, cuts, negative grades and queries without a relevant document
are dealt with as it does, measured through pytrec_eval. `nDCG-exp` is gdeval's, with the gain 2^grade - 1;
`MRR@k` is that of MS MARCO, nothing beyond the cut. A relevant document's rank is one more than the number of
higher scores: scores are sorted without their documents, whose ids only ties need. numpy alone.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

Grades = Mapping[str, int]
Scores = Mapping[str, float]
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

METRICS = {
    "nDCG": "the gain is the grade, the discount log2(rank + 1)",
    "nDCG-exp": "the gain is 2^grade - 1, the discount log2(rank + 1)",
    "P": "share of the first k ranks that are relevant, also of rankings shorter than k",
    "MAP": "mean precision at the relevant documents' ranks, over all relevant documents",
    "MRR": "1 / rank of the first relevant document, 0 where it is beyond the cut",
    "R": "share of the relevant documents that the first k ranks hold",
    "Success": "1 if the first k ranks hold a relevant document",
}
"""what is known, and how it is computed; P, R and Success take a cut (`P@20`), the others may have one"""

NEED_A_CUT = ("P", "R", "Success")
LARGEST_GRADE = 1000  # 2^grade is a float64


class Metric(NamedTuple):
    """A metric's name taken apart."""

    kind: str
    """a key of METRICS"""
    cut: int | None
    """ranks that count; None: all"""


def parse_metric(name: str) -> Metric:
    """Take a name such as `"nDCG@20"` apart.

    Raises:
        UserError: there is no such metric, or its cut is missing or not a number from 1.
    """
    kind, at, cut = name.partition("@")
    if kind not in METRICS:
        known = {other.lower(): other for other in METRICS} | {"ndcg_exp": "nDCG-exp", "recall": "R"}
        near = known.get(kind.lower())
        meant = f"did you mean {near}{at}{cut}?" if near else f"there are {', '.join(METRICS)}"
        raise UserError(f"no metric {name!r}; {meant}")
    if at and not (re.fullmatch("[0-9]+", cut) and int(cut) > 0):
        raise UserError(f"metric {name!r}: the cut is a whole number from 1, such as {kind}@20")
    if not at and kind in NEED_A_CUT:
        raise UserError(f"metric {name!r} needs a cut, such as {kind}@20")
    return Metric(kind, int(cut) if at else None)


def score_run(
    qrels: Mapping[str, Grades], run: Mapping[str, Scores], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Every metric of every judged query.

    Scores are compared as 32-bit floats, in which trec_eval holds them: what differs by less is a tie. Ties
    are put in order of document ids, the larger one first. A document is relevant from grade 1; lower and
    negative grades gain nothing. The mean over the values is that of `trec_eval -c`.

    Args:
        qrels: query -> document -> grade.
        run: query -> document -> score. The order inside does not matter; queries without judgements are
            left out.
        metrics: names such as `"nDCG@20"`, `"nDCG"`, `"nDCG-exp@20"`, `"P@20"`, `"MAP"`, `"MAP@100"`,
            `"MRR"`, `"MRR@10"`, `"R@100"`, `"Success@5"`.

    Returns:
        metric -> query -> value in 0..1, all queries of `qrels` in their order. A query that the run lacks,
        or that has no relevant document, has 0.

    Raises:
        UserError: an unknown metric, a score that is not a number, or a grade above 1000.
    """
    parsed = {name: parse_metric(name) for name in metrics}
    hits = _hits(qrels, run)
    queries = list(qrels)
    return {
        name: dict(zip(queries, _values(hits, metric).tolist(), strict=True))
        for name, metric in parsed.items()
    }


def in_order(scores: Scores) -> list[str]:
    """The documents of one query as trec_eval ranks them: by 32-bit score, ties by id, both descending."""
    documents = sorted(scores, reverse=True)
    with np.errstate(over="ignore"):  # beyond the range is infinite, as in C
        values = np.array([scores[document] for document in documents], np.float64).astype(np.float32)
    return [documents[place] for place in np.argsort(-values, kind="stable").tolist()]


class _Hits(NamedTuple):
    """The relevant documents of all queries together: H found ones, R relevant ones, Q queries."""

    query_H: Numbers
    rank_H: Numbers
    """from 1; ascending inside a query"""
    grade_H: Numbers
    count_H: Numbers
    """relevant documents of the query up to this one, itself included"""
    query_R: Numbers
    place_R: Numbers
    """from 1, in the best possible order: grades descending"""
    grade_R: Numbers
    relevant_Q: Numbers


def _hits(qrels: Mapping[str, Grades], run: Mapping[str, Scores]) -> _Hits:
    # The loops over documents are those of map, filter and +=, which are several times as fast as Python's.
    judged: list[int] = []  # grades of all judged documents, and how many a query has
    sizes: list[int] = []
    rankings: list[Scores] = []  # of the queries that the run has: scores, and place in `qrels`
    places: list[int] = []
    found: list[str] = []  # judged documents in the run, and how many a query has
    grades: list[int] = []
    scores: list[float] = []
    counts: list[int] = []
    for place, (query, graded) in enumerate(qrels.items()):
        judged += graded.values()
        sizes.append(len(graded))
        own = run.get(query)
        if own:
            fewer, more = (graded, own) if len(graded) < len(own) else (own, graded)
            here = [*filter(more.__contains__, fewer)]
            rankings.append(own)
            places.append(place)
            found += here
            grades += map(graded.__getitem__, here)
            scores += map(own.__getitem__, here)
            counts.append(len(here))
    grade_R = np.array(judged, np.int64)
    query_R = np.repeat(np.arange(len(sizes)), sizes)[grade_R > 0]
    grade_R = grade_R[grade_R > 0]
    if len(grade_R) and grade_R.max() > LARGEST_GRADE:
        raise UserError(f"grade {grade_R.max()} in the judgements; grades are at most {LARGEST_GRADE}")
    grade_H = np.array(grades, np.int64)
    hits = np.flatnonzero(grade_H > 0)
    row_H = np.repeat(np.arange(len(rankings)), counts)[hits]
    names = list(qrels)
    rank_H = _ranks(
        [names[place] for place in places], rankings, row_H, [found[hit] for hit in hits.tolist()],
        np.array(scores, np.float64)[hits],
    )  # fmt: skip
    order = np.lexsort((rank_H, row_H))
    query_H = np.array(places, np.int64)[row_H]
    relevant_Q = np.bincount(query_R, minlength=len(sizes))
    return _Hits(
        query_H, rank_H[order], grade_H[hits][order], _places(np.bincount(query_H, minlength=len(sizes))),
        query_R, _places(relevant_Q), grade_R[np.lexsort((-grade_R, query_R))], relevant_Q,
    )  # fmt: skip


def _ranks(
    names: Sequence[str], rankings: Sequence[Scores], row_H: Numbers, found: Sequence[str], score_H: Floats
) -> Numbers:
    """(H,) ranks, from 1, of some documents.

    Args:
        names: (R,) queries, for the message.
        rankings: (R,) their documents with scores.
        row_H: (H,) the ranking of each document that is asked for, ascending.
        found: (H,) its id.
        score_H: (H,) its score.
    """
    lengths = np.array([len(scores) for scores in rankings], np.int64)
    values = chain.from_iterable(scores.values() for scores in rankings)
    score_D = np.fromiter(values, np.float64, int(lengths.sum()))
    row_D = np.repeat(np.arange(len(rankings)), lengths)
    if np.isnan(score_D).any():
        row = int(row_D[np.isnan(score_D).argmax()])
        bad = next(document for document, score in rankings[row].items() if score != score)
        raise UserError(
            f"query {names[row]}, document {bad}: the score is not a number (NaN); write the run anew"
        )
    key_D, key_H = _keys(score_D, row_D), _keys(score_H, row_H)
    sorted_D = np.sort(key_D)
    below, above = (np.searchsorted(sorted_D, key_H, side) for side in ("left", "right"))
    ends = np.cumsum(lengths)
    rank_H = ends[row_H] - above + 1
    row = -1
    for hit in np.flatnonzero(above - below > 1).tolist():
        if row_H[hit] != row:
            row = int(row_H[hit])
            start, end = int(ends[row] - lengths[row]), int(ends[row])
            documents = list(rankings[row])
            order = np.argsort(key_D[start:end]).tolist()
            groups: dict[int, list[str]] = {}  # ids of equal scores, ascending
        first, last = int(below[hit]) - start, int(above[hit]) - start
        if first not in groups:
            groups[first] = sorted([documents[place] for place in order[first:last]])
        rank_H[hit] += last - first - bisect_right(groups[first], found[hit])
    return rank_H


def _keys(scores: Floats, rows: Numbers) -> Numbers:
    """Whole numbers in the order of (row, 32-bit score)."""
    with np.errstate(over="ignore"):  # beyond the range is infinite, as in C
        bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
    return (rows << 32) + np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # -0.0 and 0.0 are both 0


def _places(sizes: Numbers) -> Numbers:
    """1, 2, ..., n for every n of `sizes`, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(1, int(sizes.sum()) + 1) - np.repeat(ends - sizes, sizes)


def _values(hits: _Hits, metric: Metric) -> Floats:
    """(Q,) values of one metric."""
    kind, cut = metric
    inside = hits.rank_H <= cut if cut is not None else np.ones(len(hits.rank_H), bool)
    query, rank = hits.query_H[inside], hits.rank_H[inside]

    def sums(numbers: Numbers, weights: Floats | None = None) -> Floats:
        return np.bincount(numbers, weights, minlength=len(hits.relevant_Q)).astype(np.float64)

    if kind in ("nDCG", "nDCG-exp"):
        best = hits.place_R <= cut if cut is not None else np.ones(len(hits.place_R), bool)
        reached = sums(query, _gains(hits.grade_H[inside], kind) / np.log2(rank + 1))
        ideal = _gains(hits.grade_R[best], kind) / np.log2(hits.place_R[best] + 1)
        return _shares(reached, sums(hits.query_R[best], ideal))
    if kind == "P":
        return sums(query) / (cut or 1)
    if kind == "R":
        return _shares(sums(query), hits.relevant_Q)
    if kind == "MAP":
        return _shares(sums(query, hits.count_H[inside] / rank), hits.relevant_Q)
    first = hits.count_H[inside] == 1
    return sums(query[first], 1 / rank[first] if kind == "MRR" else None)


def _gains(grades: Numbers, kind: str) -> Floats:
    return np.exp2(grades) - 1 if kind == "nDCG-exp" else grades.astype(np.float64)


def _shares(part: Floats, whole: Floats | Numbers) -> Floats:
    """Part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
