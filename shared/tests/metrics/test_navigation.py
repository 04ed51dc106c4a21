"""Navigation metrics by hand, and warping against loops and against every possible way."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.navigation import Walk, coverage_by_length, geodesics, navigation, ndtw, spl
from nonet.metrics.warping import warp_cost, warp_costs


def looped(cost: Any) -> float:
    """The table of warping, cell by cell."""
    n, m = len(cost), len(cost[0])
    table = [[math.inf] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            before = min(table[i - 1][j], table[i][j - 1], table[i - 1][j - 1])
            table[i][j] = cost[i - 1][j - 1] + before
    return table[n][m]


def every_way(cost: Any, i: int = 0, j: int = 0) -> float:
    """The least of all ways, by trying each."""
    n, m = len(cost), len(cost[0])
    if (i, j) == (n - 1, m - 1):
        return float(cost[i][j])
    steps = [(i + a, j + b) for a, b in ((1, 0), (0, 1), (1, 1)) if i + a < n and j + b < m]
    return float(cost[i][j] + min(every_way(cost, *step) for step in steps))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=6), st.integers(0, 9999)
)
def test_warping_of_a_batch_equals_loops(shapes: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = [rng.random(shape) for shape in shapes]
    np.testing.assert_allclose(warp_costs(costs), [looped(cost) for cost in costs], rtol=1e-12)


def test_warping_is_the_best_of_all_ways() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (4, 1), (1, 4), (3, 5), (5, 4)):
        cost = rng.random(shape)
        assert warp_cost(cost) == pytest.approx(every_way(cost), abs=1e-12)
    assert warp_cost([[0, 1], [1, 0]]) == 0


def test_more_pairs_than_a_batch_keep_their_order() -> None:
    rng = np.random.default_rng(1)
    costs = [rng.random((rng.integers(1, 4), rng.integers(1, 4))) for _ in range(1100)]
    np.testing.assert_allclose(warp_costs(costs), [looped(cost) for cost in costs], rtol=1e-12)


def test_spl_and_ndtw_by_hand() -> None:
    assert spl([1], [5], [10]) == 0.5
    assert spl([1, 0, 1], [5, 5, 5], [10, 5, 4]) == pytest.approx((0.5 + 0 + 1) / 3)
    assert spl([1], [0], [0]) == 1
    assert ndtw(3, 3, 3) == pytest.approx(0.7165313, abs=1e-7)


LINE = np.abs(np.arange(5)[:, None] - np.arange(5)) * 2.0  # five viewpoints, 2 m apart


def test_navigation_along_a_line_by_hand() -> None:
    walk = Walk([0, 1, 2, 1], [0, 1, 2, 3], LINE)  # ends 4 m from the goal, was 2 m away
    found = navigation([walk, Walk([0, 1, 2], [0, 1, 2], LINE)])
    assert (found.success, found.oracle_success) == (0.5, 1)
    assert (found.error, found.length) == (2, (6 + 4) / 2)
    assert found.spl == 0.5
    first = math.exp(-looped(LINE[np.ix_([0, 1, 2, 1], [0, 1, 2, 3])]) / (4 * 3))
    assert found.ndtw == pytest.approx((first + 1) / 2)
    assert found.sdtw == pytest.approx(0.5)
    covered = (3 + math.exp(-2 / 3)) / 4
    expected = covered * 6
    by_length = covered * expected / (expected + abs(expected - 6))
    assert found.cls == pytest.approx((by_length + 1) / 2)
    assert found.episodes == 2


def test_success_is_less_than_the_radius() -> None:
    walk = Walk([0], [0, 1], np.array([[0.0, 3.0], [3.0, 0.0]]))
    assert navigation([walk]).success == 0
    assert navigation([walk], radius=3.01).success == 1
    assert navigation([walk], radius=3.01).spl == 1  # shortest 3 m, walked 0 m: the longer counts


def test_who_stays_at_the_goal_has_everything() -> None:
    found = navigation([Walk([2], [2], LINE)])
    assert found == (1, 1, 0, 0, 1, 1, 1, 1, 1)
    assert coverage_by_length([[0.0]], 0, 0) == 1


def test_geodesics_go_along_the_graph() -> None:
    edges = np.full((4, 4), np.nan)
    for a, b, metres in ((0, 1, 1.0), (1, 2, 1.0), (0, 2, 5.0)):
        edges[a, b] = edges[b, a] = metres
    found = geodesics(edges)
    assert found[0].tolist() == [0, 1, 2, math.inf]
    assert (found == found.T).all()
    scipy = pytest.importorskip("scipy.sparse.csgraph")
    rng = np.random.default_rng(2)
    weights = np.triu(rng.random((12, 12)) * (rng.random((12, 12)) < 0.3), 1)
    weights += weights.T
    theirs = scipy.shortest_path(weights, directed=False)
    np.testing.assert_allclose(geodesics(np.where(weights > 0, weights, np.inf)), theirs)


def test_walks_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match="episode 1, path must be numbers of viewpoints, at least one"):
        navigation([Walk([0], [0], LINE), Walk([], [0], LINE)])
    with pytest.raises(UserError, match="episode 0, reference has viewpoint 0 or 5, but there are 0 to 4"):
        navigation([Walk([0], [0, 5], LINE)])
    with pytest.raises(UserError, match="episode 0: a distance is negative or not a number"):
        navigation([Walk([0], [0], -LINE)])
    with pytest.raises(UserError, match="square matrix"):
        navigation([Walk([0], [0], LINE[:3])])
    with pytest.raises(UserError, match="at least one episode"):
        navigation([])
    with pytest.raises(UserError, match=r"pair 1 \(from 0\): a cost is negative or not a number"):
        warp_costs([[[1.0]], [[np.nan]]])
    with pytest.raises(UserError, match=r"pair 0 \(from 0\): costs are a matrix"):
        warp_costs([[]])
    with pytest.raises(UserError, match="rows of equal length"):
        spl([1], [1, 2], [1])
    with pytest.raises(UserError, match="both must be above 0"):
        ndtw(1, 0)
