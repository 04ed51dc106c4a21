"""Answers as SQuAD v1.1 scores them, on cases worked out by hand."""

import pytest

from nonet.errors import UserError
from nonet.metrics.reading import exact, plain_answer, reading_scores, word_f1


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The U.S.", "us"),
        ("us", "us"),
        ("  An  apple,\n a day ", "apple day"),
        ("Athena", "athena"),  # articles are whole words
        ("a", ""),
        ("the-end", "theend"),  # marks go before articles
        ("$1,000.50", "100050"),
        ("\u201cthe\u201d end", "\u201c \u201d end"),  # only ASCII marks are marks, and they bound words
        ("", ""),
    ],
)
def test_the_plain_form(answer, plain):
    assert plain_answer(answer) == plain


def test_words_count_as_often_as_they_occur():
    assert word_f1("the red red fox", "red fox") == pytest.approx(0.8)  # 2 of 3 and 2 of 2
    assert word_f1("red red", "red red red") == pytest.approx(0.8)
    assert word_f1("cat", "dog") == 0
    assert word_f1("The U.S.", "us") == exact("The U.S.", "us") == 1


def test_answers_without_words_are_equal_and_share_none():
    assert exact("the", "a") == 1
    assert word_f1("the", "a") == 0  # as in the script of v1.1


def test_the_best_right_answer_counts_and_means_are_percents():
    gold = {"1": ["Denver Broncos", "The Broncos"], "2": ["1998"], "3": ["gold", "golden"]}
    found = reading_scores({"1": "broncos", "2": "in 1998", "3": "silver"}, gold)
    assert found["exact_match"] == pytest.approx(100 / 3)
    assert found["f1"] == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)


def test_a_question_without_prediction_is_an_error_or_counts_nothing():
    gold = {"1": ["a b"], "2": ["c"]}
    with pytest.raises(UserError, match="1 of 2 predictions are missing: 2"):
        reading_scores({"1": "b"}, gold)
    assert reading_scores({"1": "b"}, gold, missing="zero") == {"f1": 50.0, "exact_match": 50.0}
    with pytest.raises(UserError, match="the answers of 1 are empty"):
        reading_scores({"1": "b"}, {"1": []})
