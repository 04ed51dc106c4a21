"""Paired tests against printed tables, closed forms, an integral and, where it is installed, scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.metrics.paired_tests import adjusted, bonferroni, paired_t, student_p
from nonet.metrics.stats import holm, paired_permutation, t_quantile
from nonet.testing import needs

# (t, degrees) of the printed tables of Student's distribution, with the two-sided p.
TABLE = {
    (12.706, 1): 0.05, (4.303, 2): 0.05, (2.776, 4): 0.05, (2.262, 9): 0.05, (3.250, 9): 0.01,
    (2.042, 30): 0.05, (3.646, 30): 0.001, (1.980, 120): 0.05, (4.587, 10): 0.001,
}  # fmt: skip


@pytest.mark.parametrize(("at", "p"), TABLE.items())
def test_p_is_the_printed_one(at: tuple[float, int], p: float) -> None:
    assert student_p(*at) == pytest.approx(p, rel=1e-3)
    assert student_p(-at[0], at[1]) == student_p(*at)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 4.0, 50.0, 1e5, 1e9])
def test_p_has_closed_forms_for_few_degrees(t: float) -> None:
    """Written so that nothing cancels where t is large."""
    one = 1 - 2 / math.pi * math.atan(t) if t < 2 else 2 / math.pi * math.atan(1 / t)
    assert student_p(t, 1) == pytest.approx(one, rel=1e-11)
    root = math.sqrt(2 + t * t)
    assert student_p(t, 2) == pytest.approx(2 / (root * (root + t)), rel=1e-11)


@pytest.mark.parametrize("at", [(0.7, 5), (3.1, 8), (6.0, 92), (9.0, 224), (2.5, 1000), (4.0, 5000)])
def test_p_is_the_integral_of_the_density(at: tuple[float, int]) -> None:
    """Simpson's rule on t = u / (1 - u) from t to infinity."""
    t, degrees = at
    u = np.linspace(t / (1 + t), 1, 200_001)[:-1]
    x = u / (1 - u)
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    height = np.exp(scale - (degrees + 1) / 2 * np.log1p(x * x / degrees)) / (1 - u) ** 2
    height = np.append(height, 0.0)
    weights = np.where(np.arange(len(height)) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    integral = float((height * weights).sum()) * (1 - t / (1 + t)) / (len(height) - 1) / 3
    assert student_p(t, degrees) == pytest.approx(2 * integral, rel=1e-7)


@pytest.mark.parametrize("degrees", [1, 2, 3, 10, 93, 1000])
def test_p_undoes_the_quantile(degrees: int) -> None:
    for level in (0.01, 0.5, 0.95, 0.998, 0.9995):
        assert student_p(t_quantile(level, degrees), degrees) == pytest.approx(1 - level, rel=1e-9)


def test_p_where_nothing_is_left() -> None:
    assert student_p(0.0, 7) == 1
    assert student_p(math.inf, 7) == 0
    assert student_p(1e200, 7) == 0
    assert 0 < student_p(60.0, 92) < 1e-70


@needs("scipy")
@pytest.mark.parametrize("n", [2, 3, 10, 93, 1000])
def test_t_test_is_scipy_s(n: int) -> None:
    from scipy.stats import ttest_rel

    random = np.random.default_rng(n)
    for shift in (0.0, 0.1, 1.0, 10.0):
        a, b = random.normal(size=n) + shift, random.normal(size=n)
        theirs, ours = ttest_rel(a, b), paired_t(a, b)
        assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)


def test_t_test_by_hand() -> None:
    found = paired_t([1, 2, 3], [0, 0, 0])
    assert found == pytest.approx((2, math.sqrt(12), 1 - math.sqrt(12 / 14), 3, 0, 0))
    found = paired_t([0.5, 0.2, 0.2, 0.0], [0.1, 0.2, 0.3, 0.9])
    assert found[-3:] == (1, 1, 2)
    assert found.difference == pytest.approx(-0.15)


def test_t_test_without_spread() -> None:
    assert paired_t([0.1, 0.2], [0.1, 0.2]) == (0, 0, 1, 0, 2, 0)
    assert paired_t([2, 3, 4], [1, 2, 3]) == (1, math.inf, 0, 3, 0, 0)
    assert paired_t([1, 2], [2, 3]).t == -math.inf


def test_t_test_and_permutations_agree_on_bell_shaped_differences() -> None:
    random = np.random.default_rng(1)
    a = random.normal(0.15, 1, 200)
    assert paired_t(a, np.zeros(200)).p == pytest.approx(paired_permutation(a, np.zeros(200)), abs=0.01)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=12))
def test_sides_can_be_exchanged(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    there, back = paired_t(a, b), paired_t(b, a)
    assert (back.difference, back.t, back.p) == (-there.difference, -there.t, there.p)
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)
    assert 0 <= there.p <= 1
    assert there.wins + there.ties + there.losses == len(pairs)


def test_corrections_by_hand() -> None:
    assert bonferroni([0.01, 0.04, 0.5]).tolist() == pytest.approx([0.03, 0.12, 1])
    assert bonferroni([]).tolist() == []
    assert adjusted([0.01, 0.04, 0.03], "holm").tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.01, 0.04, 0.03], "bonferroni").tolist() == pytest.approx([0.03, 0.12, 0.09])
    assert adjusted([0.01, 0.04, 0.03], "none").tolist() == [0.01, 0.04, 0.03]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_never_above_bonferroni(values: list[float]) -> None:
    assert (holm(values) <= bonferroni(values) + 1e-12).all()


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 items, got 1"):
        paired_t([1], [2])
    with pytest.raises(ValueError, match=r"a has shape \(2,\) and b \(3,\)"):
        paired_t([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="not finite"):
        paired_t([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="at least 1"):
        student_p(1.0, 0)
    with pytest.raises(ValueError, match="t is nan"):
        student_p(math.nan, 3)
    with pytest.raises(ValueError, match=r"numbers in 0\.\.1"):
        bonferroni([0.1, 1.5])
