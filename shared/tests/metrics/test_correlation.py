"""Correlations against definitions written out another way, and at their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.correlation import matthews, pearson, spearman

NUMBERS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=12)


def slow_rank(values):
    """Rank by counting who is smaller and who is equal."""
    return [1 + sum(v < x for v in values) + (sum(v == x for v in values) - 1) / 2 for x in values]


@given(NUMBERS)
def test_spearman_is_the_correlation_of_ranks_by_counting(pairs):
    left, right = (list(side) for side in zip(*pairs, strict=True))
    found = spearman(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(np.corrcoef(slow_rank(left), slow_rank(right))[0, 1], abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_matthews_of_two_classes_is_the_formula_of_the_four_counts(pairs):
    tp, tn = sum(g and t for g, t in pairs), sum(not g and not t for g, t in pairs)
    fp, fn = sum(g and not t for g, t in pairs), sum(t and not g for g, t in pairs)
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    guess, truth = zip(*pairs, strict=True)
    assert matthews(guess, truth) == pytest.approx((tp * tn - fp * fn) / below if below else 0.0)


def test_matthews_of_three_classes_is_the_covariance_of_indicators():
    guess, truth = [0, 1, 2, 2, 0, 1, 1], [0, 2, 2, 2, 1, 1, 0]

    def covariance(a, b):
        one_hot = [np.eye(3)[side] - np.eye(3)[side].mean(0) for side in (a, b)]
        return float((one_hot[0] * one_hot[1]).sum())

    wanted = covariance(guess, truth) / math.sqrt(covariance(guess, guess) * covariance(truth, truth))
    assert matthews(guess, truth) == pytest.approx(wanted)
    assert matthews(list("abccabb"), list("accc" + "bba")) == pytest.approx(wanted)  # names do as well


def test_examples_of_the_docstrings():
    assert matthews([1, 1, 0, 0], [1, 0, 0, 0]) == pytest.approx(1 / math.sqrt(3))
    assert pearson([1, 2, 4], [1, 2, 3]) == pytest.approx(0.981981, abs=1e-6)
    assert spearman([1, 2, 2, 9], [1, 3, 2, 4]) == pytest.approx(0.948683, abs=1e-6)


def test_correlation_does_not_depend_on_scale_even_at_the_ends_of_floats():
    left, right = [1.0, 2.0, 4.0], [1.0, 2.0, 3.0]
    for scale in (1e-300, 1e300):
        assert pearson([scale * x for x in left], right) == pytest.approx(pearson(left, right))
    assert pearson(left, [-x for x in left]) == -1.0


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_a_side_that_does_not_vary_correlates_with_nothing(measure):
    assert measure([0.1, 0.1, 0.1], [1, 2, 3]) == 0.0
    assert measure([1, 2, 3], [5, 5, 5]) == 0.0


def test_what_cannot_be_correlated_is_refused():
    with pytest.raises(UserError, match=r"at least 2, but have shapes \(1,\) and \(1,\)"):
        pearson([1], [1])
    with pytest.raises(UserError, match=r"shapes \(2,\) and \(3,\)"):
        spearman([1, 2], [1, 2, 3])
    with pytest.raises(UserError, match=r"predicted number 1 \(from 0\) is not a finite number"):
        spearman([1, math.nan], [1, 2])
    with pytest.raises(UserError, match="as many as each other, but are 1 and 2"):
        matthews([1], [1, 0])
