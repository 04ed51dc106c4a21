"""Accuracy of answers against numbers by hand, and against the published algorithm written down anew."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.answers import (
    CONTRACTIONS,
    DIGITS,
    MARKS,
    normalised,
    plain_words,
    stemmed,
    without_punctuation,
)
from nonet.metrics.predictions import align, from_records, same_length
from nonet.metrics.vqa import CONVENTIONS, frequent_answers, leave_one_out, soft_labels, vqa_accuracy


def slow_marks(text: str, most: int) -> str:
    """Punctuation as the published algorithm removes it, mark by mark."""
    out = text
    for mark in MARKS:
        if mark + " " in text or " " + mark in text or re.search(r"(\d)(\,)(\d)", text):
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    return re.sub(r"(\.)(?!\d)", "", out, count=most)


def slow_words(text: str) -> str:
    words = [DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def slow_value(prediction: str, answers: list[str], convention: str) -> float:
    """Leave each person out in turn, as the published algorithm does with numbered answers."""
    most = 0 if convention == "fixed" else 32
    people = list(answers)
    if convention != "official-2015":
        people = [answer.replace("\n", " ").replace("\t", " ").strip() for answer in people]
    mine = prediction.replace("\n", " ").replace("\t", " ").strip()
    differ = len(set(people)) > 1
    if convention == "official-2015" or convention == "fixed" or differ:
        mine = slow_words(slow_marks(mine, most))
    if convention == "official-2015" and differ:
        people = [slow_marks(answer, most) for answer in people]
    elif convention == "fixed" or (convention == "official-2021" and differ):
        people = [slow_words(slow_marks(answer, most)) for answer in people]
    values = []
    for left_out in range(len(people)):
        others = [answer for place, answer in enumerate(people) if place != left_out]
        values.append(min(1.0, sum(answer == mine for answer in others) / 3))
    return sum(values) / len(values)


def one(prediction: str, answers: list[str], **options: Any) -> float:
    return vqa_accuracy({"q": prediction}, {"q": answers}, **options).accuracy


@pytest.mark.parametrize(("matches", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
@pytest.mark.parametrize("convention", list(CONVENTIONS))
def test_k_equal_answers_of_ten_give_0_3_6_9_10_tenths(matches: int, value: float, convention: Any) -> None:
    answers = ["red"] * matches + [f"other {n}" for n in range(10 - matches)]
    assert one("red", answers, convention=convention) == pytest.approx(value, abs=1e-12)
    assert leave_one_out(matches) == pytest.approx(value, abs=1e-12)


def test_unanimous_yes_with_a_period_is_wrong_officially_and_right_when_fixed() -> None:
    answers = ["yes."] * 10
    assert one("yes.", answers, convention="official-2015") == 0
    assert one("yes.", answers, convention="fixed") == 1
    assert one("yes.", answers, convention="official-2021") == 1
    assert one("yes", answers, convention="official-2021") == 0
    assert one("yes", answers, convention="fixed") == 1
    assert one("yes.", ["yes."] * 9 + ["no"], convention="official-2015") == 1  # not unanimous: marks go


def test_peoples_digits_and_articles_stay_officially() -> None:
    answers = ["two"] * 5 + ["the 2"] * 5
    assert one("two", answers, convention="official-2015") == 0  # "two" becomes 2, "the 2" stays
    assert one("two", answers, convention="official-2021") == 1
    assert one("two", answers, convention="fixed") == 1


def test_only_32_periods_vanish_officially() -> None:
    dots, rest = "." * 40, "." * 8
    assert one(dots + "x", ["x"] * 9 + ["y"], convention="fixed") == 1
    assert one(dots + "x", ["x"] * 9 + ["y"], convention="official-2015") == 0
    assert one(dots + "x", [rest + "x"] * 10, convention="official-2015") == 1


def test_answers_without_ids_are_left_out_together_officially() -> None:
    answers = ["red"] * 4 + ["blue"] * 6
    assert one("red", answers) == 1
    assert one("red", answers, answer_ids=False) == pytest.approx(0.6)  # only the six others see four reds
    assert one("red", answers, answer_ids=False, convention="fixed") == 1


def test_means_by_type_use_the_mean_and_in_the_beta_the_last_person() -> None:
    answers = {"a": ["red"] * 2 + ["blue"] * 8, "b": ["yes"] * 10}
    types = {"a": "what", "b": "is"}
    guesses = {"a": "red", "b": "no"}
    now = vqa_accuracy(guesses, answers, types=types)
    beta = vqa_accuracy(guesses, answers, types=types, convention="beta-2015")
    assert now.by_type == {"is": 0.0, "what": pytest.approx(0.6)}
    assert beta.by_type == {"is": 0.0, "what": pytest.approx(2 / 3)}  # without the last, two of nine are red
    assert now.accuracy == beta.accuracy == pytest.approx(0.3)
    last = {"a": answers["a"][::-1]}
    assert vqa_accuracy({"a": "red"}, last, types=types, convention="beta-2015").by_type["what"] == (
        pytest.approx(1 / 3)
    )


WORDS = st.sampled_from(
    ["yes", "Yes.", "no", "two", "2", "the dog", "dog", "dont", "1,000", "a-b", "none", ""]
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=10), st.sampled_from(list(CONVENTIONS)))
def test_accuracy_equals_the_published_algorithm(
    prediction: str, answers: list[str], convention: Any
) -> None:
    plain = convention.replace("beta", "official")
    assert one(prediction, answers, convention=convention) == pytest.approx(
        slow_value(prediction, answers, plain), abs=1e-12
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*"aB1,. -'?\n\té", "the ", "two "]), max_size=12).map("".join))
def test_normalising_equals_the_published_steps(text: str) -> None:
    assert without_punctuation(text) == slow_marks(text, 0)
    assert plain_words(text) == slow_words(text)


def test_answers_by_hand() -> None:
    assert normalised("Yes, it is.") == "yes it is"
    assert normalised("dark-blue") == "dark blue"
    assert normalised("$1,000.50") == "$1000.50"  # the comma of a number vanishes
    assert normalised(" The\tThree\nCATS ") == "3 cats"
    assert normalised("None") == "0"
    assert normalised("I dont know, lets go") == "i don't know lets go"  # "lets" is not in the table
    assert plain_words("couldntve shouldnt've yall'd've hes") == "couldntve shouldn't've y'all'd've he's"
    assert stemmed("running dogs") == "run dog"


def test_contractions_are_those_of_the_published_table() -> None:
    assert len(CONTRACTIONS) == 120
    assert CONTRACTIONS["aint"] == "ain't"
    assert CONTRACTIONS["Id've"] == CONTRACTIONS["I'dve"] == "I'd've"
    assert CONTRACTIONS["somebody'd"] == "somebodyd"  # the table's own slip
    assert CONTRACTIONS["yall'll"] == CONTRACTIONS["y'allll"] == "y'all'll"
    assert {"id", "ill", "well", "were", "shell", "hell", "itsa", "its"}.isdisjoint(CONTRACTIONS)  # words


def test_stems_make_forms_of_a_word_equal() -> None:
    answers = ["surfing"] * 4 + ["swims"] * 6
    assert one("surfs", answers) == 0
    assert one("surfs", answers, stem=True) == 1


def test_soft_labels_are_the_scores_of_each_answer() -> None:
    answers = ["red"] * 2 + ["Red."] + ["blue"] * 7
    assert soft_labels(answers) == {"red": 0.9, "blue": 1.0}
    assert soft_labels(answers, ["red", "green"], normalise=False) == {"red": 0.6}
    assert frequent_answers(["a", "b", "b", "c", "c"], least=2) == ["b", "c"]


def test_many_questions_average() -> None:
    rng = np.random.default_rng(0)
    pool = ["yes", "no", "2", "two", "a cat."]
    answers = {str(n): rng.choice(pool, 10).tolist() for n in range(50)}
    guesses = {key: str(rng.choice(pool)) for key in answers}
    scores = vqa_accuracy(guesses, answers)
    by_hand = [slow_value(guesses[key], answers[key], "official-2015") for key in answers]
    assert scores.accuracy == pytest.approx(sum(by_hand) / 50, abs=1e-12)
    assert list(scores.by_question) == list(answers)


# ------------------------------------------------------------------------------------------ bad predictions


def test_missing_predictions_are_an_error_that_lists_five_or_zeros_on_demand() -> None:
    answers = {f"q{n}": ["yes"] * 10 for n in range(8)}
    with pytest.raises(UserError, match=r"7 of 8 predictions are missing: q1, q2, q3, q4, q5, \.\.\.; add"):
        vqa_accuracy({"q0": "yes", "z": "?"}, answers)
    scores = vqa_accuracy({"q0": "yes", "z": "?"}, answers, missing="zero")
    assert (scores.accuracy, scores.missing, scores.extra) == (1 / 8, 7, 1)


def test_predictions_for_other_questions_are_an_error_even_with_zeros() -> None:
    with pytest.raises(
        UserError, match="no prediction has an id of the truth; predicted are 1, wanted are 2"
    ):
        align({"1": "x"}, {"2": "y"}, missing="zero")
    with pytest.raises(UserError, match="no items"):
        align({}, {})


def test_wrong_questions_and_conventions_are_refused() -> None:
    with pytest.raises(UserError, match="no convention 'official'"):
        vqa_accuracy({"q": "x"}, {"q": ["x"]}, convention="official")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the answers of q are empty; each question needs a list"):
        vqa_accuracy({"q": "x"}, {"q": []})
    with pytest.raises(UserError, match="the answers of q are one text and not a list of them"):
        vqa_accuracy({"q": "x"}, {"q": "yes"})
    with pytest.raises(UserError, match="the prediction of q is 3; it must be text"):
        vqa_accuracy({"q": 3}, {"q": ["3"]})  # type: ignore[dict-item]
    with pytest.raises(UserError, match="question q has no type"):
        vqa_accuracy({"q": "x"}, {"q": ["x"]}, types={})


def test_records_become_texts_and_duplicates_are_refused() -> None:
    found = from_records([{"id": 1, "a": "x"}, {"id": "2", "a": 3}, {"id": 3, "a": " "}], "id", "a")
    assert found == ({"1": "x", "2": "3", "3": " "}, 1, 1)
    with pytest.raises(UserError, match="1 id is predicted more than once: 1; keep"):
        from_records([{"id": 1, "a": "x"}, {"id": "1", "a": "y"}], "id", "a")
    with pytest.raises(UserError, match="prediction 7: a is None; it must be text"):
        from_records([{"id": 7, "a": None}], "id", "a")
    with pytest.raises(UserError, match=r"prediction 1 \(from 0\) is not a record with 'id' and 'a'"):
        from_records([{"id": 7, "a": "x"}, {"id": 8}], "id", "a")
    with pytest.raises(UserError, match="are 1 and 2"):
        same_length([1], [1, 2], "predictions and labels")
