"""Accuracy of free-text answers against those of ten people: VQA, OK-VQA, A-OKVQA, TextVQA.

An answer that k of the others gave has min(1, k / 3), averaged over the ten ways to leave one person out: 0,
.3, .6, .9 and 1 for 0 to 4 equal answers. Source: Antol et al. 2015, section 3, and the history of the
published evaluation GT-Vision-Lab/VQA, whose versions give different numbers for the same answers;
`CONVENTIONS` has them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import fsum
from typing import Literal, NamedTuple, get_args

from nonet.errors import UserError
from nonet.metrics.answers import PERIODS, plain_words, stemmed, trimmed, without_punctuation
from nonet.metrics.predictions import Missing, align, check_texts

Convention = Literal["official-2015", "official-2021", "beta-2015", "fixed"]

CONVENTIONS: dict[str, str] = {
    "official-2015": "24 September 2015 to March 2021 (458a8b2): predictions are normalised wholly; people's "
    "answers lose punctuation only, and only where they differ: ten times `yes.` makes `yes.` wrong",
    "official-2021": "since March 2021 (a013f00): where people's answers differ, both sides are "
    "normalised wholly, else neither: ten times `yes.` makes `yes` wrong",
    "beta-2015": "29 July to 24 September 2015 (ffa9050): as official-2015, but means by type are of the "
    "last person left out",
    "fixed": "both sides are always normalised wholly, and all their periods go (the others: at most 32)",
}
"""what each convention does"""

ENOUGH = 3  # equal answers that make one right
PEOPLE = 10  # who answer a question


class VqaScores(NamedTuple):
    """Accuracies, 0..1.

    Attributes:
        accuracy: mean over questions.
        by_question: of each question.
        by_type: mean over the questions of each type, types in alphabetical order; empty if none were given.
        missing: questions without prediction, which count 0.
        extra: predictions without question, which do not count.
    """

    accuracy: float
    by_question: dict[str, float]
    by_type: dict[str, float]
    missing: int
    extra: int


def vqa_accuracy(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    *,
    convention: Convention = "official-2015",
    types: Mapping[str, str] | None = None,
    stem: bool = False,
    answer_ids: bool = True,
    missing: Missing = "error",
) -> VqaScores:
    """Accuracy of all questions.

    Args:
        predictions: question -> answer.
        answers: question -> what people answered, at least one, usually ten.
        convention: a key of `CONVENTIONS`.
        types: question -> its type, for the means of each type.
        stem: compare stems after all other steps, as OK-VQA does.
        answer_ids: False if the answers in the file have no ids. The official versions leave out everything
            that equals the one left out, which without ids is every equal answer; `"fixed"` does not care.
        missing: `"zero"` counts questions without prediction as wrong.

    Raises:
        UserError: unknown convention, missing predictions, a question without answers or without type.
    """
    score = _scorer(convention, stem)
    found = align(predictions, answers, missing=missing)
    by_question, by_type_question = dict.fromkeys(answers, 0.0), dict.fromkeys(answers, 0.0)
    together = not answer_ids and convention != "fixed"
    check_texts(predictions, answers, found.ids)
    for question in found.ids:
        given = answers[question]
        matches, last = score(predictions[question], given)
        by_question[question] = leave_one_out(matches, len(given), together=together)
        others = (0 if together else matches - 1) if last else matches
        by_type_question[question] = min(1.0, others / ENOUGH)
    values = by_type_question if convention == "beta-2015" else by_question
    return VqaScores(
        fsum(by_question.values()) / len(by_question), by_question,
        _means(values, types) if types is not None else {}, len(found.missing), len(found.extra),
    )  # fmt: skip


def leave_one_out(matches: int, people: int = PEOPLE, *, together: bool = False) -> float:
    """Mean of min(1, equal answers / 3) over all ways to leave one person out.

    `[leave_one_out(k) for k in range(5)]` is 0, .3, .6, .9, 1 (up to rounding); k / 3 would be wrong.

    Args:
        matches: people who gave the predicted answer, 0..people.
        people: how many answered.
        together: leaving out one of the equal answers leaves out all of them.
    """
    without = 0.0 if together else min(1.0, (matches - 1) / ENOUGH)
    inside = matches * without if matches else 0.0
    return (inside + (people - matches) * min(1.0, matches / ENOUGH)) / people


def soft_labels(
    answers: Sequence[str], vocabulary: Iterable[str] | None = None, *, normalise: bool = True
) -> dict[str, float]:
    """Training targets of one question: each answer with its score, 0.3, 0.6, 0.9 or 1.

    `soft_labels(["red"] * 2 + ["blue"] * 8)` is `{"red": 0.6, "blue": 1.0}`.

    Args:
        answers: what people answered.
        vocabulary: answers that the model can give (3,129 for VQA v2 where at least nine people said it);
            None: all.
        normalise: bring answers into one form before counting.
    """
    known = None if vocabulary is None else set(vocabulary)
    counts: dict[str, int] = {}
    for answer in answers:
        word = plain_words(without_punctuation(trimmed(answer))) if normalise else answer
        if known is None or word in known:
            counts[word] = counts.get(word, 0) + 1
    return {word: round(leave_one_out(count, len(answers)), 12) for word, count in counts.items()}


def frequent_answers(answers: Iterable[str], least: int = 9) -> list[str]:
    """The answers of a vocabulary: each that people gave at least `least` times, most frequent first."""
    counts: dict[str, int] = {}
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    return sorted((a for a, n in counts.items() if n >= least), key=lambda answer: (-counts[answer], answer))


def _scorer(convention: str, stem: bool) -> Callable[[str, Sequence[str]], tuple[int, bool]]:
    """A function of prediction and answers: how many are equal to it, and whether the last one is."""
    if convention not in get_args(Convention):
        raise UserError(f"no convention {convention!r} for VQA accuracy; there are {', '.join(CONVENTIONS)}")
    periods = 0 if convention == "fixed" else PERIODS
    ending: Callable[[str], str] = cache(stemmed) if stem else str

    @cache
    def bare(answer: str) -> str:
        return without_punctuation(answer, periods=periods)

    @cache
    def whole(answer: str) -> str:
        return plain_words(bare(trimmed(answer)))

    def old(prediction: str, answers: Sequence[str]) -> tuple[int, bool]:
        right = ending(whole(prediction))
        differ = answers.count(answers[0]) < len(answers)
        theirs = [ending(bare(answer) if differ else answer) for answer in answers]
        return theirs.count(right), theirs[-1] == right

    def new(prediction: str, answers: Sequence[str]) -> tuple[int, bool]:
        theirs = [trimmed(answer) for answer in answers]
        right = trimmed(prediction)
        if convention == "fixed" or theirs.count(theirs[0]) < len(theirs):
            theirs, right = [whole(answer) for answer in theirs], whole(right)
        theirs, right = [ending(answer) for answer in theirs], ending(right)
        return theirs.count(right), theirs[-1] == right

    return old if convention in ("official-2015", "beta-2015") else new


def _means(values: Mapping[str, float], types: Mapping[str, str]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for question, value in values.items():
        if question not in types:
            raise UserError(f"question {question} has no type")
        groups.setdefault(types[question], []).append(value)
    return {kind: fsum(group) / len(group) for kind, group in sorted(groups.items())}
