r"""ROUGE precision, recall and F of predicted against true texts, equal to rouge-score 0.1.2 to the last bit.

Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries". Which of its readings is meant
(words are runs of a-z and 0-9 after lower-casing; Porter stems for words of four or more letters; no double
counting in the summary-level LCS) follows the package rouge-score, whose numbers papers report.

`rougeL` takes each text as one sequence of words. `rougeLsum` takes every line as a sentence, and "\n" alone
ends a line: texts that mark sentences otherwise ("<n>", say) must be split by the caller first, or rougeLsum
equals rougeL.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.metrics.rouge_kernel import count_pairs
from nonet.metrics.stats import Interval, column_intervals

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

Scores = dict[str, NDArray[np.float64]]


class Score(NamedTuple):
    """One pair's score of one type, each number in 0..1."""

    precision: float
    recall: float
    fmeasure: float


class Aggregate(NamedTuple):
    """Means over many pairs with their confidence intervals."""

    precision: Interval
    recall: Interval
    fmeasure: Interval


def score(
    target: str, prediction: str, types: Sequence[str] = TYPES, stemmer: bool = True
) -> dict[str, Score]:
    """Score one prediction against one reference text.

    `score("the cat sat", "the cat", ["rouge1"])` is `{"rouge1": Score(1.0, 2/3, 0.8)}`.

    Args:
        target: the reference text.
        prediction: the text to judge.
        types: any of "rouge1" to "rouge9", "rougeL", "rougeLsum".
        stemmer: compare Porter stems instead of words.

    Returns:
        A Score for each type; all zero where a text has no words.

    Raises:
        ValueError: a type is unknown.
        TypeError: a text is not a str.
    """
    scores = score_pairs([target], [prediction], types, stemmer)
    return {kind: Score(*values[0].tolist()) for kind, values in scores.items()}


def score_pairs(
    targets: Sequence[str],
    predictions: Sequence[str],
    types: Sequence[str] = TYPES,
    stemmer: bool = True,
    threads: int = 1,
) -> Scores:
    """Score many predictions, each against its own reference text.

    Args:
        targets: n reference texts.
        predictions: n texts to judge, in the same order.
        types: any of "rouge1" to "rouge9", "rougeL", "rougeLsum".
        stemmer: compare Porter stems instead of words.
        threads: how many threads share the pairs; the result does not depend on it.

    Returns:
        For each type a float64 array (n, 3): precision, recall, F. Memory beyond that: about 75 bytes for
        each byte of the longest text and, with rougeLsum, one bit for each pair of a prediction's token and a
        target line's token.

    Raises:
        ValueError: a type is unknown, the lengths differ, or `threads` is below 1.
        TypeError: a text is not a str.
    """
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} targets but {len(predictions)} predictions: they must pair up")
    data, ends = _join(targets, "targets", predictions, "predictions")
    n = len(targets)
    spans = np.stack([ends[:n], ends[1 : n + 1], ends[n:-1], ends[n + 1 :]], axis=1)
    return _score_spans(data, spans, types, stemmer, threads)


def score_multi(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    types: Sequence[str] = TYPES,
    stemmer: bool = True,
    threads: int = 1,
) -> Scores:
    """Score many predictions, each against the best of several reference texts.

    Best means the highest F, found for each type alone; of equals the first counts.

    Args:
        targets: n sequences of one or more reference texts.
        predictions: n texts to judge.
        types: any of "rouge1" to "rouge9", "rougeL", "rougeLsum".
        stemmer: compare Porter stems instead of words.
        threads: how many threads share the pairs; the result does not depend on it.

    Returns:
        For each type a float64 array (n, 3): precision, recall, F of the best reference.

    Raises:
        ValueError: a prediction has no reference, a type is unknown, the lengths differ, or `threads` is
            below 1.
        TypeError: a text is not a str, or an item of `targets` is a str and not a sequence of them.
    """
    if len(targets) != len(predictions):
        raise ValueError(
            f"{len(targets)} items in targets but {len(predictions)} predictions: they must pair up"
        )
    for i, references in enumerate(targets):
        if isinstance(references, str):
            raise TypeError(f"targets[{i}] is one str; give the references of an item as a list")
        if len(references) == 0:
            raise ValueError(f"targets[{i}] is empty: every prediction needs a reference")
    flat = [reference for references in targets for reference in references]
    data, ends = _join(flat, "references", predictions, "predictions")
    item = np.repeat(np.arange(len(targets)), [len(references) for references in targets])  # (pairs,) int64
    at = len(flat) + item
    spans = np.stack([ends[: len(flat)], ends[1 : len(flat) + 1], ends[at], ends[at + 1]], axis=1)
    starts = np.flatnonzero(np.diff(item, prepend=-1))
    best: Scores = {}
    for kind, scores in _score_spans(data, spans, types, stemmer, threads).items():
        highest = np.maximum.reduceat(scores[:, 2], starts) if len(starts) else scores[:0, 2]
        winners = np.flatnonzero(scores[:, 2] == highest[item])
        best[kind] = scores[winners[np.unique(item[winners], return_index=True)[1]]]
    return best


def aggregate(
    scores: Mapping[str, NDArray[np.float64]], seed: int = 0, level: float = 0.95, resamples: int = 1000
) -> dict[str, Aggregate]:
    """Plain means over the pairs, with bootstrap intervals that the seed fixes.

    Args:
        scores: for each type an array (n, 3), as `score_pairs` gives it.
        seed: of the resampling; every type is resampled with the same draws.
        level: share of resampled means inside the interval, 0..1.
        resamples: bootstrap samples.

    Returns:
        For each type the intervals (mean, low, high) of precision, recall and F, in 0..1.

    Raises:
        ValueError: there are no pairs, or a number is out of range.
    """
    return {
        kind: Aggregate(*column_intervals(values, seed, level, resamples)) for kind, values in scores.items()
    }


def _join(
    first: Sequence[str], name: str, second: Sequence[str], other: str
) -> tuple[bytes, NDArray[np.int64]]:
    """All texts as UTF-8 in one piece, and where each begins; the last number is the end."""
    encoded: list[bytes] = []
    for texts, label in ((first, name), (second, other)):
        if isinstance(texts, str):
            raise TypeError(f"{label} is one str; give a list of texts")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"{label}[{i}] is {type(text).__name__}, not str")
            encoded.append(text.encode("utf-8", "surrogatepass"))
    ends = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=ends[1:])
    return b"".join(encoded), ends


def _score_spans(
    data: bytes, spans: NDArray[np.int64], types: Sequence[str], stemmer: bool, threads: int
) -> Scores:
    for kind in types:
        if not re.fullmatch(r"rouge([1-9]|L|Lsum)", kind):
            raise ValueError(f"unknown ROUGE type {kind!r}: choose from rouge1 to rouge9, rougeL, rougeLsum")
    if threads < 1:
        raise ValueError(f"threads is {threads}, but it takes at least 1")
    longest = max((int(kind[5:]) for kind in types if kind[5:].isdigit()), default=0)
    letters = np.frombuffer(data, np.uint8)

    def count(part: NDArray[np.int64]) -> NDArray[np.int64]:
        return count_pairs(letters, part, stemmer, longest, "rougeL" in types, "rougeLsum" in types)

    if threads == 1 or len(spans) < 2:
        counts = count(spans)
    else:
        parts = np.array_split(spans, min(4 * threads, len(spans)))
        with ThreadPoolExecutor(threads) as pool:
            counts = np.concatenate(list(pool.map(count, parts)))
    rows = {"rougeL": longest, "rougeLsum": longest + 1}
    return {kind: _divide(counts[:, rows[kind] if kind in rows else int(kind[5:]) - 1]) for kind in types}


def _divide(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, 3) hits, target total, prediction total to (n, 3) precision, recall, F.

    The operations and their order are rouge-score's, so that the results are the same to the last bit.
    """
    scores = np.zeros((len(counts), 3))
    precision = scores[:, 0] = counts[:, 0] / np.maximum(counts[:, 2], 1)
    recall = scores[:, 1] = counts[:, 0] / np.maximum(counts[:, 1], 1)
    np.divide(2 * precision * recall, precision + recall, out=scores[:, 2], where=precision + recall > 0)
    return scores
