"""Fisher's test in one direction: known tables, least numbers, exact power, and the level."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from double_i.fisher import Table, fisher_greater, least_p, power, smallest_n
from double_i.power import needed, stopping
from nonet.errors import UserError


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((3, 1, 1, 3), 0.242857),
        ((8, 2, 1, 5), 0.024476),
        ((80, 20, 30, 70), 5.25178e-13),
        ((75, 25, 60, 40), 0.0170719),
        ((12, 0, 0, 12), 3.69801e-07),
        ((100, 0, 0, 100), 1.10e-59),
    ],
)
def test_known_tables(table, p):
    assert fisher_greater(Table(*table)) == pytest.approx(p, rel=5e-3 if p < 1e-50 else 3e-5)


def test_agrees_with_scipy_on_small_tables():
    for table in itertools.product(range(5), repeat=4):
        if table[0] + table[1] and table[2] + table[3]:
            expected = stats.fisher_exact([table[:2], table[2:]], alternative="greater").pvalue
            assert fisher_greater(Table(*table)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (3, 1, 0, 0), (0, 0, 2, 2), (-1, 2, 2, 2)])
def test_an_empty_set_is_an_error(table):
    with pytest.raises(UserError):
        fisher_greater(Table(*table))


def test_smallest_n():
    assert [smallest_n(a) for a in (1e-2, 1e-3, 1e-4, 1e-6, 1e-9)] == [5, 7, 8, 12, 17]
    assert least_p(12) == pytest.approx(1 / math.comb(24, 12))
    with pytest.raises(UserError):
        smallest_n(0)


@pytest.mark.parametrize(
    ("alpha", "shares", "n", "expected"),
    [
        (1e-6, (0.9, 0.1), 20, 0.637),
        (1e-6, (0.9, 0.1), 30, 0.986),
        (1e-6, (0.9, 0.1), 50, 1.0),
        (1e-6, (0.8, 0.2), 30, 0.451),
        (1e-6, (0.8, 0.2), 50, 0.916),
        (1e-6, (0.8, 0.4), 100, 0.852),
        (1e-3, (0.8, 0.4), 50, 0.814),
        (1e-3, (0.7, 0.5), 100, 0.366),
        (1e-3, (0.95, 0.05), 10, 0.925),
    ],
)
def test_known_power(alpha, shares, n, expected):
    assert power(n, *shares, alpha) == pytest.approx(expected, abs=6e-4)


def test_power_is_the_sum_over_all_tables():
    n, alpha = 9, 0.05
    total = sum(
        stats.binom.pmf(a, n, 0.7) * stats.binom.pmf(b, n, 0.3)
        for a in range(n + 1)
        for b in range(n + 1)
        if fisher_greater(Table(a, n - a, b, n - b)) <= alpha
    )
    assert power(n, 0.7, 0.3, alpha) == pytest.approx(total, rel=1e-9)


def test_level_is_kept_without_a_difference():
    for share in np.linspace(0, 1, 11):
        assert power(40, share, share, 0.05) <= 0.05


def test_needed_pairs():
    found = needed(1e-6, 0.9, 0.1, 0.95)
    assert found.pairs is not None
    assert power(found.pairs, 0.9, 0.1, 1e-6) >= 0.95
    assert min(power(found.pairs - 1 + more, 0.9, 0.1, 1e-6) for more in range(5)) < 0.95
    assert (found.smallest, found.sequential) == (12, 22)
    assert needed(1e-3, 1.0, 0.0).pairs == 7
    with pytest.raises(UserError, match="no number of queries"):
        needed(1e-6, 0.3, 0.3)


def test_stopping_with_perfect_answers():
    assert stopping(1e-6, 1.0, 0.0, runs=10) == (1.0, 22.0, 22.0)
