"""The best spans of contexts from a model's start and end scores (Devlin et al. 2019, section 4.2).

Every span of up to `longest` tokens is scored, not only those of the best twenty starts and ends: the best is
the best of all. A span's score is the sum of both logits; its probability is among the spans that are kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cap_prune.squad_features import Questions

# Shapes: W tokens of a window without padding, D lengths of spans.

Floats = NDArray[np.float32]

LONGEST = 30
"""tokens of an answer at most"""
KEPT = 20
"""spans of a question that a probability is taken among"""


class Span(NamedTuple):
    """An answer.

    Attributes:
        text: as it stands in the context; empty where the context is.
        score: sum of the logits of its first and last token.
        probability: among the best spans of the question, 0..1.
        start: its first character in the context.
    """

    text: str
    score: float
    probability: float
    start: int


def best_spans(
    starts: Sequence[Floats],
    ends: Sequence[Floats],
    questions: Questions,
    *,
    longest: int = LONGEST,
    kept: int = KEPT,
) -> dict[str, Span]:
    """The best span of every question, over all of its windows.

    Args:
        starts: for each window (W,) logits of being the first token.
        ends: for each window (W,) logits of being the last token.
        questions: what the windows are.
        longest: tokens of a span at most.
        kept: spans of each question that the probability is taken among.

    Returns:
        By the question's id, in the order of the questions.
    """
    candidates: list[dict[tuple[int, int], float]] = [{} for _ in questions.ids]
    for start, end, places, own in zip(starts, ends, questions.offsets, questions.of_window, strict=True):
        seen = candidates[int(own)]
        for score, first, last in window_spans(start, end, places[:, 0] >= 0, longest=longest, kept=kept):
            key = (int(places[first, 0]), int(places[last, 1]))
            seen[key] = max(score, seen.get(key, -np.inf))
    return {
        name: _best(spans, context, kept)
        for name, context, spans in zip(questions.ids, questions.contexts, candidates, strict=True)
    }


def window_spans(
    start: Floats, end: Floats, allowed: NDArray[np.bool_], *, longest: int = LONGEST, kept: int = KEPT
) -> list[tuple[float, int, int]]:
    """The best spans of a window as (score, first token, last token), best first; earlier ones before equals.

    Args:
        start: (W,) logits.
        end: (W,) logits.
        allowed: (W,) whether a token is the context's.
        longest: tokens of a span at most.
        kept: how many.
    """
    begins = np.where(allowed, start, -np.inf).astype(np.float64)
    stops = np.where(allowed, end, -np.inf).astype(np.float64)
    width = len(begins)
    lengths = min(longest, width)
    padded = np.concatenate([stops, np.full(lengths, -np.inf)])
    scores_WD = begins[:, None] + np.lib.stride_tricks.sliding_window_view(padded, lengths)[:width]
    flat = scores_WD.reshape(-1)
    best = np.argsort(-flat, kind="stable")[:kept] if len(flat) <= kept else _top(flat, kept)
    return [
        (float(flat[place]), int(place // lengths), int(place // lengths + place % lengths))
        for place in best
        if flat[place] > -np.inf
    ]


def _top(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the greatest values, greatest first, earlier ones before equals."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:count]


def _best(spans: dict[tuple[int, int], float], context: str, kept: int) -> Span:
    if not spans:
        return Span("", 0.0, 1.0, 0)
    ordered = sorted(spans.items(), key=lambda item: (-item[1], item[0]))[:kept]
    scores = np.asarray([score for _, score in ordered])
    shares = np.exp(scores - scores[0])
    (begin, stop), score = ordered[0]
    return Span(context[begin:stop], score, float(shares[0] / shares.sum()), begin)
