"""Answers read out of a text against those that people marked: exact match and F1 of words (SQuAD v1.1).

Source: Rajpurkar et al. 2016, section 6.1, and the published evaluation script: lower case, no punctuation,
no articles, blanks collapsed; of several right answers the one that fits best counts; means over questions,
times 100. An answer without a word in common with the truth, or with no word at all, has F1 0.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from nonet.metrics.predictions import Missing, align, check_texts

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation)


def plain_answer(answer: str) -> str:
    """The form in which answers are compared: `plain_answer("The U.S.")` is `"us"`."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_MARKS)).split())


def exact(predicted: str, gold: str) -> float:
    """1 if both have the same plain form, else 0."""
    return float(plain_answer(predicted) == plain_answer(gold))


def word_f1(predicted: str, gold: str) -> float:
    """F1 of the words of both plain forms, each word as often as it occurs, 0..1.

    `word_f1("the red red fox", "red fox")` is 0.8.
    """
    ours, theirs = plain_answer(predicted).split(), plain_answer(gold).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs)) if same else 0.0


def reading_scores(
    predictions: Mapping[str, str], gold: Mapping[str, Sequence[str]], *, missing: Missing = "error"
) -> dict[str, float]:
    """Scores over all questions.

    Args:
        predictions: an answer by the question's id.
        gold: the right answers by id, at least one each.
        missing: `"error"` refuses a question without prediction, `"zero"` scores it 0, as the script does.

    Returns:
        `f1` and `exact_match`, 0..100.

    Raises:
        UserError: a prediction is missing, is no text, or a question has no right answer.
    """
    aligned = align(predictions, gold, missing=missing)
    check_texts(predictions, gold, aligned.ids)

    def mean(score: Callable[[str, str], float]) -> float:
        total = sum(max(score(predictions[key], truth) for truth in gold[key]) for key in aligned.ids)
        return 100 * total / len(gold)

    return {"f1": mean(word_f1), "exact_match": mean(exact)}
