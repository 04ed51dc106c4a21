"""Reasoning and classification metrics by hand and against scikit-learn."""

from typing import Any

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.classification import accuracy, auroc, count_error, f1, macro_f1
from nonet.metrics.gqa import Question, distribution, gqa, grounding
from nonet.metrics.reasoning import nlvr2, nlvr2_sentence, vcr


def test_q_to_ar_is_the_event_and_not_the_product() -> None:
    scores = vcr([0, 1, 2, 0], [3, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3])
    assert scores == (0.75, 0.75, 0.5)
    assert scores.q_ar != scores.q_a * scores.qa_r
    logits = np.eye(4)[[0, 1, 2, 0]]
    assert vcr(logits, [3, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]) == scores


def test_vcr_refuses_what_does_not_fit() -> None:
    with pytest.raises(UserError, match="answers must be numbers from 0 to 3"):
        vcr([4], [0], [0], [0])
    with pytest.raises(UserError, match="as many as the right ones"):
        vcr([1, 1], [0], [0], [0])
    with pytest.raises(UserError, match="scores of rationales must be 4 numbers"):
        vcr([1], [[0.1, np.nan, 0, 0]], [0], [0])


def test_nlvr2_consistency_needs_all_pairs_of_a_sentence() -> None:
    names = ["dev-1-0-0", "dev-1-1-0", "dev-1-0-1", "dev-2-0-0"]
    sentences = [nlvr2_sentence(name) for name in names]
    assert sentences == ["dev-1-0", "dev-1-0", "dev-1-1", "dev-2-0"]
    assert nlvr2([True, False, True, False], [True, True, True, True], sentences) == (0.5, 1 / 3, 3)
    with pytest.raises(UserError, match="no identifier of NLVR2"):
        nlvr2_sentence("dev-1")
    with pytest.raises(UserError, match="are 1 and 2"):
        nlvr2([True, True], [True, True], ["a"])


def test_gqa_by_hand() -> None:
    questions = {
        "1": Question("red", entailed=("1", "2", "3"), valid={"red", "blue"}, plausible={"red"}, group="car"),
        "2": Question("yes", balanced=False),
        "3": Question("no", balanced=False),
        "4": Question("blue", entailed=("2",), valid={"red", "blue"}, plausible={"blue"}, group="car"),
        "5": Question("yes", binary=True, valid={"yes", "no"}),
        "6": Question("color", common=True, valid={"wood"}),
    }
    guesses = {"1": "red", "2": "yes", "3": "yes", "4": "red", "5": "maybe", "6": "color"}
    scores = gqa(guesses, questions)
    assert scores.accuracy == 0.5
    assert (scores.binary, scores.open) == (0, 2 / 3)
    assert (
        scores.consistency == 0.5
    )  # of question 1 one of two followers is right; 4 is wrong, and does not count
    assert scores.validity == 0.75  # "maybe" is not; "color" is, as what things have in common
    assert scores.plausibility == 0.5
    assert scores.distribution == pytest.approx(0.02)  # red 2 for 1, blue 0 for 1


def test_gqa_without_groups_and_choices_says_none() -> None:
    scores = gqa({"1": "a"}, {"1": Question("b")})
    assert scores[1:] == (None, 0.0, None, None, None, None)
    assert distribution({}, {}) is None
    with pytest.raises(UserError, match="question 9, which follows from another, is not among the questions"):
        gqa({"1": "a"}, {"1": Question("a", entailed=("9",))})
    with pytest.raises(UserError, match="1 of 2 predictions are missing: 2"):
        gqa({"1": "a"}, {"1": Question("a"), "2": Question("b")})


def test_distribution_equals_scipys_chi_square_weighted_by_group() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    questions, guesses, expected, total = {}, {}, 0.0, 0
    for group in "xy":
        gold = list("ab") + rng.choice(list("ab"), 20).tolist()
        guess = rng.choice(list("ab"), 22).tolist()
        for n, (truth, said) in enumerate(zip(gold, guess, strict=True)):
            questions[f"{group}{n}"] = Question(truth, group=group)
            guesses[f"{group}{n}"] = said
        counts = [[side.count(answer) for answer in "ab"] for side in (guess, gold)]
        expected += 22 * stats.chisquare(*counts).statistic
        total += 22
    assert distribution(guesses, questions) == pytest.approx(expected / total / 100)


def test_grounding_is_the_attention_inside_the_regions() -> None:
    even = np.full((4, 4), 1 / 16)
    assert grounding(even, [[0, 0, 0.5, 0.5]]) == pytest.approx(0.25)
    assert grounding(even, [[0, 0, 1, 1], [0, 0, 0.5, 1]]) == pytest.approx(1.5)  # regions add up
    one = np.zeros((2, 2))
    one[1, 0] = 1  # right half, upper half: x first
    assert grounding(one, [[0.5, 0, 1, 0.25]]) == pytest.approx(0.5)
    with pytest.raises(UserError, match=r"regions: box 0 .* goes beyond 1"):
        grounding(even, [[0, 0, 2, 2]])
    with pytest.raises(UserError, match="s x s"):
        grounding(np.ones((2, 3)), [[0, 0, 1, 1]])


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_f1_equals_sklearn(average: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for _ in range(20):
        guess, truth = rng.integers(0, 5, 30), rng.integers(0, 4, 30)
        theirs = metrics.f1_score(truth, guess, average=average, zero_division=0)
        assert f1(guess.tolist(), truth.tolist(), average) == pytest.approx(theirs, abs=1e-12)
        some = metrics.f1_score(truth, guess, average=average, zero_division=0, labels=[0, 1, 7])
        assert f1(guess.tolist(), truth.tolist(), average, labels=[0, 1, 7]) == pytest.approx(some, abs=1e-12)


def test_classification_by_hand() -> None:
    assert macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    assert accuracy(["entailment", "neutral"], ["entailment", "contradiction"]) == 0.5
    with pytest.raises(UserError, match="nothing to score"):
        accuracy([], [])
    with pytest.raises(UserError, match="no average 'samples'"):
        f1([1], [1], "samples")  # type: ignore[arg-type]


def test_auroc_equals_sklearn_with_ties() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    for digits in (0, 1, 6):
        scores, truth = np.round(rng.random(200), digits), rng.integers(0, 2, 200)
        assert auroc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    assert auroc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]) == 0.875
    assert auroc([5, 5, 5], [0, 1, 1]) == 0.5


def test_auroc_refuses_one_kind_and_numbers_that_are_none() -> None:
    with pytest.raises(UserError, match="all labels are the same"):
        auroc([1, 2], [1, 1])
    with pytest.raises(UserError, match=r"score 1 \(from 0\) is not a finite number"):
        auroc([1, np.nan], [0, 1])
    with pytest.raises(UserError, match="labels must be 0 or 1"):
        auroc([1, 2], [0, 2])


def test_squared_error_of_counts_equals_sklearn_and_may_be_rounded_first() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(5)
    ours, truth = draw.uniform(0, 12, 50), draw.integers(1, 11, 50)
    assert count_error(ours, truth) == pytest.approx(metrics.mean_squared_error(truth, ours), abs=1e-12)
    assert count_error([2.5, 4], [2, 6]) == 2.125
    assert count_error([2.5, 4], [2, 6], rounded=True) == 2.5  # 3 and 4
    assert count_error([0.2, 30, -4], [1, 10, 1], rounded=True) == 0
    with pytest.raises(UserError, match=r"true count 1 \(from 0\) is not a finite number"):
        count_error([1, 2], [1, np.nan])
    with pytest.raises(UserError, match="one row each, at least 1"):
        count_error([], [])
