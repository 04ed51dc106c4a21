"""Dialogue and sentiment metrics against scikit-learn, scipy and numbers by hand."""

import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.dialogue import answer_ranks, ndcg
from nonet.metrics.sentiment import mean_absolute_error, pearson, sentiment


def test_ndcg_by_hand() -> None:
    value = (1 / math.log2(3)) / (1 + 0.5 / math.log2(3))
    assert ndcg([[3, 2, 1]], [[0, 1, 0.5]]) == pytest.approx(value)
    assert round(value, 4) == 0.4796
    assert ndcg([[3, 2, 1]], [[1, 0.5, 0]]) == 1
    assert ndcg([[3, 2, 1]], [[0, 0, 1]]) == 0  # K is 1


def test_ndcg_equals_sklearn_at_the_number_of_relevant_answers() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30, 100))
    relevance = rng.choice([0, 0, 0, 0.2, 0.5, 1], (30, 100))
    relevance[:, 0] = 0.4
    theirs = [
        metrics.ndcg_score([gain], [score], k=int((gain > 0).sum()))
        for gain, score in zip(relevance, scores, strict=True)
    ]
    assert ndcg(scores, relevance) == pytest.approx(np.mean(theirs), abs=1e-12)


def test_equal_scores_put_the_less_relevant_first() -> None:
    assert ndcg([[1, 1]], [[1, 0]]) == 0
    assert ndcg([[1, 1, 1]], [[0.5, 1, 0]]) < ndcg([[1, 1.1, 1]], [[0.5, 1, 0]]) < 1


def test_sparse_ranks_by_hand() -> None:
    scores = [[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.5, 0.5, 0.1]]
    found = answer_ranks(scores, [2, 0, 1], cuts=(1, 2))  # ranks 2, 1, 2 (a tie)
    assert found.recall == {1: pytest.approx(1 / 3), 2: 1}
    assert found.mrr == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert found.mean_rank == pytest.approx(5 / 3)
    assert found.ties == pytest.approx(1 / 3)


def test_dialogues_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"round 1 \(from 0\) has no relevant answer"):
        ndcg([[1, 2], [1, 2]], [[1, 0], [0, 0]])
    with pytest.raises(UserError, match=r"score of round 0, option 1 \(from 0\) is not a number"):
        ndcg([[1, np.nan]], [[1, 0]])
    with pytest.raises(UserError, match="they must be equal"):
        ndcg([[1, 2]], [[1]])
    with pytest.raises(UserError, match="finite and at least 0"):
        ndcg([[1, 2]], [[1, -1]])
    with pytest.raises(UserError, match="options 0 to 1, got 2 to 2"):
        answer_ranks([[1, 2]], [2])
    with pytest.raises(UserError, match="1 rounds"):
        answer_ranks([[1, 2]], [0, 1])
    with pytest.raises(UserError, match="from 1"):
        answer_ranks([[1, 2]], [0], cuts=[])


def test_sentiment_equals_scipy_and_sklearn() -> None:
    stats = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    gold = np.round(rng.uniform(-3, 3, 300) * 3) / 3
    gold[:40] = 0
    guess = gold + rng.standard_normal(300)
    found = sentiment(guess, gold)
    assert found.mae == pytest.approx(metrics.mean_absolute_error(gold, guess), abs=1e-12)
    assert found.pearson == pytest.approx(stats.pearsonr(guess, gold).statistic, abs=1e-12)
    assert found.acc_7 == np.mean(np.round(np.clip(guess, -3, 3)) == np.round(gold))
    assert found.acc_2_nonneg == metrics.accuracy_score(gold >= 0, guess >= 0)
    assert found.f1_nonneg == pytest.approx(metrics.f1_score(gold >= 0, guess >= 0, average="weighted"))
    kept = gold != 0
    assert found.acc_2_pos == metrics.accuracy_score(gold[kept] > 0, guess[kept] > 0)
    assert found.f1_pos == pytest.approx(
        metrics.f1_score(gold[kept] > 0, guess[kept] > 0, average="weighted")
    )
    assert found.zeros == 300 - kept.sum() >= 40
    swapped = sentiment(guess, gold, weigh_by="predictions")  # as code that swaps the arguments has it
    theirs = metrics.f1_score(guess >= 0, gold >= 0, average="weighted")
    assert swapped.f1_nonneg == pytest.approx(theirs)
    assert swapped.f1_nonneg != found.f1_nonneg


def test_the_two_conventions_differ_where_the_truth_is_zero() -> None:
    found = sentiment([-1, 1, 2], [0, 1, -3])
    assert (found.acc_2_nonneg, found.acc_2_pos, found.zeros) == (pytest.approx(1 / 3), 0.5, 1)
    assert mean_absolute_error([-1, 1, 2], [0, 1, -3]) == 2


def test_halves_round_to_the_even_class_and_large_values_are_the_last_one() -> None:
    assert sentiment([0.5, 5, 2], [0.4, 3, -1]).acc_7 == pytest.approx(2 / 3)


def test_pearson_is_one_for_a_line_and_undefined_for_a_constant() -> None:
    assert pearson([1, 2, 3], [2, 4, 6]) == 1
    assert pearson([1, 2, 3], [3, 2, 1]) == -1
    with pytest.raises(UserError, match="all predictions are equal"):
        sentiment([1, 1, 1], [1, 2, 3])
    with pytest.raises(UserError, match="all truths are equal"):
        pearson([1, 2, 3], [1, 1, 1])


def test_sentiments_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"prediction 1 \(from 0\) is not a finite number"):
        sentiment([1, np.inf], [1, 2])
    with pytest.raises(UserError, match="the truth is 0 for all items"):
        sentiment([1, 2], [0, 0])
    with pytest.raises(UserError, match="at least 2"):
        sentiment([1], [1])
    with pytest.raises(UserError, match="by truth or predictions, not 'both'"):
        sentiment([1, 2], [1, 3], weigh_by="both")  # type: ignore[arg-type]
