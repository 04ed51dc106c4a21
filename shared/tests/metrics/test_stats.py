"""Intervals and tests against published constants, closed forms and brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.metrics import stats
from nonet.metrics.stats import (
    column_intervals,
    holm,
    mean_interval,
    paired_bootstrap,
    paired_permutation,
    seeds_table,
    t_interval,
    t_quantile,
)

# Student's t with two-sided coverage, from the printed tables.
T_TABLE = {
    (0.95, 1): 12.706, (0.95, 2): 4.303, (0.95, 3): 3.182, (0.95, 4): 2.776, (0.95, 9): 2.262,
    (0.95, 30): 2.042, (0.95, 120): 1.980, (0.90, 5): 2.015, (0.99, 4): 4.604, (0.99, 9): 3.250,
    (0.999, 1): 636.619, (0.999, 10): 4.587, (0.80, 2): 1.886, (0.50, 1): 1.000,
}  # fmt: skip


@pytest.mark.parametrize(("at", "expected"), T_TABLE.items())
def test_t_quantile_is_the_printed_one(at: tuple[float, int], expected: float) -> None:
    assert t_quantile(*at) == pytest.approx(expected, abs=5.1e-4)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.95, 0.999])
def test_t_quantile_has_closed_forms_for_one_and_two_degrees(level: float) -> None:
    assert t_quantile(level, 1) == pytest.approx(math.tan(math.pi * level / 2), rel=1e-12)
    assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)), rel=1e-12)


def test_t_quantile_becomes_the_normal_one() -> None:
    assert t_quantile(0.95, 1_000_000) == pytest.approx(1.959964 * (1 + (1.959964**2 + 1) / 4e6), abs=1e-6)


@pytest.mark.parametrize("degrees", [3, 4, 7, 12])
def test_t_quantile_covers_its_level_by_quadrature(degrees: int) -> None:
    top = t_quantile(0.9, degrees)
    t = np.linspace(-top, top, 200_001)
    density = (1 + t**2 / degrees) ** (-(degrees + 1) / 2)
    scale = math.gamma((degrees + 1) / 2) / math.gamma(degrees / 2) / math.sqrt(degrees * math.pi)
    assert scale * np.trapezoid(density, t) == pytest.approx(0.9, abs=1e-9)


def test_t_interval_by_hand() -> None:
    mean, low, high = t_interval([1, 2, 3])
    assert (mean, high - mean) == pytest.approx((2, 2.484), abs=5e-4)
    assert low + high == pytest.approx(4)
    assert t_interval([5, 5]) == (5, 5, 5)


def test_bootstrap_interval_agrees_with_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    mean, low, high = mean_interval(values, seed=1, resamples=4000)
    assert mean == values.mean()
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(mean - half, abs=0.1 * half)
    assert high == pytest.approx(mean + half, abs=0.1 * half)


def test_bootstrap_interval_of_two_values_is_exact() -> None:
    # Means of two draws from 0 and 1 are 0, 1/2, 1 with 1/4, 1/2, 1/4: the middle half ends inside 0 and 1.
    assert mean_interval([0, 1], seed=0, level=0.95) == (0.5, 0, 1)
    assert mean_interval([0, 1], seed=0, level=0.4) == (0.5, 0.5, 0.5)
    assert mean_interval([7], seed=0) == (7, 7, 7)


def test_same_seed_same_interval_for_any_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((50, 3))
    whole = column_intervals(values, seed=5)
    assert whole == column_intervals(values, seed=5) != column_intervals(values, seed=6)
    assert whole[1] == mean_interval(values[:, 1], seed=5)
    monkeypatch.setattr(stats, "DRAWS_AT_ONCE", 7)
    assert column_intervals(values, seed=5) == whole


def test_paired_bootstrap_sees_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    base = rng.random(300)
    better = base + rng.normal(0.05, 0.1, size=300)
    difference, low, high, p = paired_bootstrap(better, base, seed=1, resamples=2000)
    assert difference == pytest.approx((better - base).mean())
    assert 0 < low < difference < high
    assert p == 2 / 2001
    assert paired_bootstrap(base, better, seed=1, resamples=2000).p == p
    assert paired_bootstrap(base, base, seed=1) == (0, 0, 0, 1)


def test_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(4)
    bootstrap, permutation = [], []
    for seed in range(200):
        a, b = rng.normal(size=(2, 60))
        bootstrap.append(paired_bootstrap(a, b, seed, resamples=400).p)
        permutation.append(paired_permutation(a, b, seed, resamples=400))
    for found in (bootstrap, permutation):
        assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.06)
        assert np.mean(found) == pytest.approx(0.5, abs=0.08)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_permutation_of_few_items_tries_every_sign(differences: list[int]) -> None:
    total = abs(sum(differences))
    flipped = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = np.mean([abs(one) >= total for one in flipped])
    scaled = np.array(differences) / 10  # sums that are equal on paper are not in binary
    assert paired_permutation(scaled, np.zeros(len(scaled))) == pytest.approx(expected)


def test_drawn_permutations_come_near_all_of_them() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.4, 1, 12), rng.normal(0, 1, 12)
    every = paired_permutation(a, b, resamples=2**12)
    assert paired_permutation(a, b, seed=1, resamples=2**12 - 1) == pytest.approx(every, abs=0.03)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.6]).tolist() == [1, 1, 1]
    assert holm([]).tolist() == []
    assert holm([0.2]).tolist() == [0.2]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(pvalues: list[float], level: float) -> None:
    rejected = 0
    for i, p in enumerate(sorted(pvalues)):
        if p * (len(pvalues) - i) > level:
            break
        rejected += 1
    assert (holm(pvalues) <= level).sum() == rejected


def test_seeds_table_groups_by_what_is_not_a_number() -> None:
    rows = [
        {"method": "ours", "seed": 0, "f1": 0.5, "loss": 2},
        {"method": "ours", "seed": 1, "f1": 0.7, "loss": 4},
        {"method": "lead", "seed": 0, "f1": 0.4},
    ]
    first, second, third = seeds_table(rows)
    assert (first["method"], first["measure"], first["seeds"]) == ("ours", "f1", 2)
    assert first["mean"] == pytest.approx(0.6)
    assert first["sd"] == pytest.approx(0.1 * math.sqrt(2))
    assert first["high"] - first["mean"] == pytest.approx(12.706 * 0.1, abs=1e-3)
    assert second["mean"] == 3
    expected = {
        "method": "lead",
        "measure": "f1",
        "seeds": 1,
        "mean": 0.4,
        "sd": None,
        "low": None,
        "high": None,
    }
    assert third == expected
    assert seeds_table([]) == []


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="values is empty"):
        mean_interval([])
    with pytest.raises(ValueError, match="values has 2 numbers that are not finite"):
        mean_interval([1, math.nan, math.inf])
    with pytest.raises(ValueError, match="values has 2 axes, not 1"):
        mean_interval([[1], [2]])
    with pytest.raises(ValueError, match=r"level is 95, but it lies between 0 and 1"):
        mean_interval([1, 2], level=95)
    with pytest.raises(ValueError, match="resamples is 0, but it takes at least 1"):
        paired_bootstrap([1], [2], resamples=0)
    with pytest.raises(ValueError, match="a has 2 scores and b has 1: they must be of the same items"):
        paired_bootstrap([1, 2], [1])
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        t_interval([1])
    with pytest.raises(ValueError, match="degrees is 0"):
        t_quantile(0.95, 0)
    with pytest.raises(ValueError, match=r"numbers in 0\.\.1, got \[0.5, 2.0\]"):
        holm([0.5, 2])
    with pytest.raises(ValueError, match=r"seed 0 occurs twice for \{'method': 'ours'\}"):
        seeds_table([{"method": "ours", "seed": 0, "f1": 1}, {"method": "ours", "seed": 0, "f1": 2}])
