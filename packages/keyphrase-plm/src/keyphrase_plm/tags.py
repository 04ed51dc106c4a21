"""Keyphrases as labels of words, O, B and I, and back.

Source: the tagger of Wu et al. 2022 (DeepKPG `data/bioConverter.py`) under the name `compat`, where a later
phrase overwrites the labels of an earlier one. So "data aggregation" and "aggregation" make B B of the two
words, and the longer phrase cannot be read back. `longest` is ours: of overlapping places the longest is
labelled, of equally long ones the leftmost.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from nonet.errors import UserError

LABELS = ("O", "B", "I")
O, B, I = range(3)  # noqa: E741

Scheme = Literal["longest", "compat"]
SCHEMES: tuple[Scheme, ...] = ("longest", "compat")
Span = tuple[int, int]  # first word, last word + 1


def label_words(
    words: Sequence[str],
    phrases: Iterable[str],
    stem: Callable[[str], str],
    *,
    scheme: Scheme = "longest",
) -> list[int]:
    """The labels of a text's words: B where a phrase begins, I where it goes on, else O.

    `label_words(["deep", "nets", "learn"], ["deep net"], stem)` is `[B, I, O]`.

    Args:
        words: of the text.
        phrases: gold phrases; words are split at white space. Those that do not occur label nothing.
        stem: of a word; words match where their stems are equal.
        scheme: `"longest"` or `"compat"`.

    Returns:
        One label a word.

    Raises:
        UserError: there is no such scheme.
    """
    if scheme not in SCHEMES:
        raise UserError(f"unknown scheme of labels {scheme!r}; choose {' or '.join(SCHEMES)}")
    labels = [O] * len(words)
    places = list(_places([stem(word) for word in words], _stemmed(phrases, stem)))
    if scheme == "longest":
        places.sort(key=lambda place: (place[0] - place[1], place[0]))
    for first, stop in places:
        if scheme == "longest" and any(labels[first:stop]):
            continue
        labels[first:stop] = [B] + [I] * (stop - first - 1)
    return labels


def count_present(words: Sequence[str], phrases: Iterable[str], stem: Callable[[str], str]) -> int:
    """How many different phrases, compared by stems, occur among the words."""
    stems = [stem(word) for word in words]
    return len({tuple(stems[first:stop]) for first, stop in _places(stems, _stemmed(phrases, stem))})


def spans_of(labels: Sequence[int]) -> list[Span]:
    """The spans that labels mean, in the order of the text.

    B begins a span and ends the one before; I goes on, or begins a span where none is open; O ends.

    Args:
        labels: of words, each O, B or I.

    Returns:
        (first word, last word + 1) of each.
    """
    spans: list[Span] = []
    first = None
    for at, label in enumerate([*labels, O]):
        if first is not None and label != I:
            spans.append((first, at))
            first = None
        if label != O and first is None:
            first = at
    return spans


def _stemmed(phrases: Iterable[str], stem: Callable[[str], str]) -> list[tuple[str, ...]]:
    """The stems of each phrase that has words, each phrase once, in the given order."""
    found = (tuple(stem(word) for word in phrase.split()) for phrase in phrases)
    return list(dict.fromkeys(stems for stems in found if stems))


def _places(stems: Sequence[str], phrases: Iterable[Sequence[str]]) -> Iterator[Span]:
    """Where phrases occur: all places of the first one, then of the second."""
    at_word: dict[str, list[int]] = {}
    for at, word in enumerate(stems):
        at_word.setdefault(word, []).append(at)
    for phrase in phrases:
        for first in at_word.get(phrase[0], ()):
            stop = first + len(phrase)
            if tuple(stems[first:stop]) == tuple(phrase):
                yield first, stop
