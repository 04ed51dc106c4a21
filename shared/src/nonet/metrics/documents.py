"""Answers and entities read from documents: ANLS, exact match, F1 of entities.

Sources: ANLS, Biten et al. 2019, "Scene Text Visual Question Answering" (ST-VQA, DocVQA); the
evaluation script published with DocVQA differs at the threshold. Entities are chunks of tags as in the CoNLL
shared task of 2000, and are counted as LayoutLM's code does it for FUNSD.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from nonet.errors import UserError
from nonet.metrics.predictions import Missing, align, check_texts, same_length
from nonet.metrics.text_edit import edit_distance

Side = Literal["paper", "script"]

SIDES: dict[str, str] = {
    "paper": "1 - NL where NL < threshold, else 0",
    "script": "blanks are joined; NL by the lengths before that; 1 - NL where it is at least the threshold",
}
"""conventions of ANLS; with the threshold .5, NL of exactly .5 gives 0 by the paper and .5 by the script"""


class TextScores(NamedTuple):
    """Scores, 0..1: their mean, each, questions without prediction, predictions without question."""

    mean: float
    by_question: dict[str, float]
    missing: int
    extra: int


class EntityScores(NamedTuple):
    """Precision, recall and F1 over the entities of all sequences together, 0..1, and how many there are."""

    precision: float
    recall: float
    f1: float
    predicted: int
    gold: int


def similarity(
    prediction: str, answers: Sequence[str], threshold: float = 0.5, side: Side = "paper"
) -> float:
    """ANLS of one question: the best of 1 - NL over answers, NL = edits / length of the longer text.

    `similarity("abd", ["abc"])` is .6667; `similarity("ab", ["ax"])` is 0, as NL is exactly .5.

    Args:
        prediction: compared in lower case, without blanks around it.
        answers: what is right, at least one.
        threshold: NL from which on the value is 0, 0..1.
        side: a key of `SIDES`.
    """
    if side not in get_args(Side):
        raise UserError(f"no convention {side!r} for ANLS; there are {', '.join(SIDES)}")
    if not answers:
        raise UserError("a question has no answer to compare with")
    best = 0.0
    for answer in answers:
        mine, theirs = prediction.strip().lower(), answer.strip().lower()
        longer = max(len(mine), len(theirs))
        if side == "script":
            mine, theirs = " ".join(mine.split()), " ".join(theirs.split())
            longer = max(len(prediction), len(answer))
        if not longer or mine == theirs:
            return 1.0
        # no more edits than give a better score than the best so far, and one that counts
        most = min(math.ceil(threshold * longer), math.floor((1 - best) * longer))
        edits = edit_distance(mine, theirs, most)
        value = 1 - edits / longer
        counts = edits / longer < threshold if side == "paper" else value >= threshold
        if edits <= most and counts:
            best = max(best, value)
    return best


def anls(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    *,
    threshold: float = 0.5,
    side: Side = "paper",
    missing: Missing = "error",
) -> TextScores:
    """Average normalised Levenshtein similarity over questions.

    Args:
        predictions: question -> answer.
        answers: question -> right answers, at least one.
        threshold: see `similarity`.
        side: a key of `SIDES`.
        missing: `"zero"` counts questions without prediction as 0.

    Raises:
        UserError: missing predictions, a question without answers, or an unknown convention.
    """
    found = align(predictions, answers, missing=missing)
    check_texts(predictions, answers, found.ids)
    values = dict.fromkeys(answers, 0.0)
    for question in found.ids:
        values[question] = similarity(predictions[question], answers[question], threshold, side)
    return TextScores(math.fsum(values.values()) / len(values), values, len(found.missing), len(found.extra))


def exact_match(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    *,
    lower: bool = False,
    missing: Missing = "error",
) -> TextScores:
    """Share of questions whose prediction is one of the right answers, letter by letter (OCR-VQA).

    Args:
        predictions: question -> answer; blanks around it do not count.
        answers: question -> right answers, at least one.
        lower: compare in lower case.
        missing: `"zero"` counts questions without prediction as wrong.
    """
    found = align(predictions, answers, missing=missing)
    check_texts(predictions, answers, found.ids)

    def plain(text: str) -> str:
        return text.strip().lower() if lower else text.strip()

    values = dict.fromkeys(answers, 0.0)
    for question in found.ids:
        values[question] = float(plain(predictions[question]) in map(plain, answers[question]))
    return TextScores(math.fsum(values.values()) / len(values), values, len(found.missing), len(found.extra))


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities of one sequence: (kind, first token, token behind the last).

    Tags are O, B-KIND, I-KIND, and S- and E- of BIOES. As CoNLL's script does it, I- begins an entity where
    none of its kind goes on. `entities(["B-Q", "I-Q", "O", "I-A"])` is `[("Q", 0, 2), ("A", 3, 4)]`.

    Raises:
        UserError: a tag is none of these.
    """
    found: list[tuple[str, int, int]] = []
    kind, start, ended = "", 0, True  # of the entity that goes on
    for place, tag in enumerate([*tags, "O"]):
        what, dash, this = tag.partition("-")
        if tag != "O" and (what not in ("B", "I", "E", "S") or not dash or not this):
            raise UserError(f"tag {place} is {tag!r}; tags are O, B-KIND, I-KIND, E-KIND and S-KIND")
        goes_on = not ended and what in ("I", "E") and this == kind
        if not ended and not goes_on:
            found.append((kind, start, place))
            ended = True
        if tag != "O":
            if ended:
                kind, start, ended = this, place, False
            if what in ("E", "S"):
                found.append((kind, start, place + 1))
                ended = True
    return found


def entity_f1(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> EntityScores:
    """Precision, recall and F1 of entities, of which kind and both ends must be right, over all sequences.

    Args:
        predicted: tags of each sequence.
        gold: true tags of the same tokens.

    Raises:
        UserError: other numbers of sequences or tokens, or an unknown tag.
    """
    same_length(predicted, gold, "predicted and true sequences")
    ours: Counter[tuple[int, str, int, int]] = Counter()
    theirs: Counter[tuple[int, str, int, int]] = Counter()
    for place, (guess, truth) in enumerate(zip(predicted, gold, strict=True)):
        if len(guess) != len(truth):
            raise UserError(f"sequence {place} has {len(guess)} predicted tags and {len(truth)} true ones")
        ours.update((place, *entity) for entity in entities(guess))
        theirs.update((place, *entity) for entity in entities(truth))
    hits, many, all_of_them = (sum(counts.values()) for counts in (ours & theirs, ours, theirs))
    return EntityScores(
        hits / many if many else 0.0,
        hits / all_of_them if all_of_them else 0.0,
        2 * hits / (many + all_of_them) if many + all_of_them else 0.0,
        many,
        all_of_them,
    )
