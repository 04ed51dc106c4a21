"""Optimal transport of words to regions: worked numbers, the method by steps, padding, an exact solver."""

import math
import warnings

import pytest
import torch

from nonet.errors import UserError
from nonet.testing import needs, normal
from nonet.vision_language.objectives import (
    cosine_cost,
    transport_distance,
    transport_plan,
    word_region_alignment,
)

CROSSED = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
LOPSIDED = torch.tensor([[[0.0, 0.5, 1.0], [0.9, 0.2, 0.4]]])


def plain_plan(cost, beta, iterations, inner):
    """The method as it is written down, in nested lists and double precision."""
    m, n = len(cost), len(cost[0])
    plan = [[1.0] * n for _ in range(m)]
    sigma = [1 / m] * m
    for _ in range(iterations):
        q = [[math.exp(-cost[i][j] / beta) * plan[i][j] for j in range(n)] for i in range(m)]
        for _ in range(inner):
            delta = [1 / (n * sum(q[i][j] * sigma[i] for i in range(m))) for j in range(n)]
            sigma = [1 / (m * sum(q[i][j] * delta[j] for j in range(n))) for i in range(m)]
        plan = [[sigma[i] * q[i][j] * delta[j] for j in range(n)] for i in range(m)]
    return plan


@pytest.mark.parametrize(("iterations", "expected"), [(1, 0.1192029), (5, 4.5398e-5), (50, 0.0)])
def test_crossed_costs_after_some_iterations(iterations, expected):
    found = transport_distance(CROSSED, iterations=iterations).item()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_a_constant_cost_costs_itself():
    assert transport_distance(torch.full((2, 3, 5), 0.7)).tolist() == pytest.approx([0.7, 0.7])


def test_lopsided_costs_come_near_the_exact_quarter():
    assert transport_distance(LOPSIDED).item() == pytest.approx(0.2500024, abs=1e-7)


@pytest.mark.parametrize(
    ("beta", "iterations", "inner"), [(0.5, 1, 1), (0.5, 7, 1), (1.0, 13, 3), (0.1, 50, 1)]
)
def test_the_plan_is_that_of_the_method_step_by_step(beta, iterations, inner):
    cost = cosine_cost(normal(4, 5, 6), normal(4, 7, 6, seed=1))
    plan = transport_plan(cost, beta=beta, iterations=iterations, inner=inner)
    for item in range(4):
        expected = torch.tensor(plain_plan(cost[item].tolist(), beta, iterations, inner))
        assert torch.allclose(plan[item], expected, atol=1e-6)


def test_rows_and_columns_of_the_plan_add_up_to_equal_masses():
    plan = transport_plan(cosine_cost(normal(6, 4, 8), normal(6, 9, 8, seed=1)))
    assert torch.allclose(plan.sum(2), torch.full((6, 4), 1 / 4), atol=1e-6)
    assert torch.allclose(plan.sum(1), torch.full((6, 9), 1 / 9), atol=2e-3)


def test_a_padded_batch_is_each_item_by_itself():
    words, regions = normal(3, 6, 8), normal(3, 9, 8, seed=1)
    lengths, counts = [6, 2, 4], [3, 9, 1]
    word_mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    region_mask = torch.arange(9) < torch.tensor(counts)[:, None]
    words[~word_mask], regions[~region_mask] = math.nan, 1e6  # whatever stands in padding
    cost = cosine_cost(words, regions)
    plan = transport_plan(cost, word_mask, region_mask)
    found = transport_distance(cost, word_mask, region_mask)
    for item, (m, n) in enumerate(zip(lengths, counts, strict=True)):
        alone = transport_distance(cost[item : item + 1, :m, :n])
        assert found[item].item() == pytest.approx(alone.item(), abs=1e-6)
        assert plan[item, m:].eq(0).all()
        assert plan[item, :, n:].eq(0).all()


def test_padding_of_nan_has_a_finite_gradient():
    cost = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(0))
    cost[0, 1] = math.nan
    cost.requires_grad_()
    transport_distance(cost, torch.tensor([[True, False]]), torch.ones(1, 3).bool()).sum().backward()
    assert cost.grad.tolist()[0][0] == pytest.approx([1 / 3] * 3)
    assert cost.grad[0, 1].eq(0).all()


def test_nothing_on_one_side_costs_nothing():
    cost = torch.ones(2, 2, 3, requires_grad=True)
    none = torch.tensor([[True, True], [False, False]])
    found = transport_distance(cost, none, torch.ones(2, 3).bool())
    assert found.tolist() == pytest.approx([1, 0])
    found.sum().backward()
    assert cost.grad[1].eq(0).all()
    no_regions = torch.tensor([[False] * 3, [True] * 3])
    assert transport_distance(cost, None, no_regions).tolist() == pytest.approx([0, 1])


def test_the_gradient_is_the_plan_which_has_none_itself():
    cost = LOPSIDED.clone().requires_grad_()
    transport_distance(cost).sum().backward()
    assert torch.allclose(cost.grad, transport_plan(LOPSIDED))
    assert not transport_plan(cost).requires_grad


def test_a_constant_added_to_a_word_or_a_region_moves_nothing_at_the_end():
    shifted = LOPSIDED + torch.tensor([[5.0], [0.0]]) + torch.tensor([30.0, 0.0, 2.0])
    assert torch.allclose(transport_plan(shifted), transport_plan(LOPSIDED), atol=1e-4)


def test_half_precision_is_computed_in_float32():
    cost = LOPSIDED.bfloat16()
    assert transport_distance(cost).dtype == torch.float32
    assert transport_distance(cost).item() == pytest.approx(transport_distance(cost.float()).item())


@pytest.mark.peer
@needs("POT>=0.9.5")
def test_the_exact_solver_is_a_lower_bound_that_many_iterations_reach():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in its texts
        import ot

    cost = cosine_cost(normal(8, 6, 5, dtype=torch.float64), normal(8, 9, 5, seed=1, dtype=torch.float64))
    exact = [float(ot.emd2([1 / 6] * 6, [1 / 9] * 9, item.numpy())) for item in cost]
    some, many = transport_distance(cost), transport_distance(cost, iterations=2000)
    assert many.tolist() == pytest.approx(exact, abs=1e-5)
    assert (some - torch.tensor(exact)).abs().max() < 0.02
    assert float(ot.emd2([0.5] * 2, [1 / 3] * 3, LOPSIDED[0].double().numpy())) == pytest.approx(0.25)


def test_cosine_costs_are_0_to_2_and_1_for_nothing():
    words = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    regions = torch.tensor([[[3.0, 0.0], [-2.0, 0.0], [0.0, 4.0]]])
    assert cosine_cost(words, regions)[0].tolist() == [[0, 2, 1], [1, 1, 1]]


def test_alignment_subtracts_pairs_that_do_not_match():
    words, regions = normal(4, 3, 8), normal(4, 5, 8, seed=1)
    distance = transport_distance(cosine_cost(words, regions))
    assert word_region_alignment(words, regions).loss.item() == pytest.approx(distance.mean().item())
    matched = torch.tensor([1, 0, -100, 1])
    found = word_region_alignment(words, regions, matched=matched)
    expected = (distance[0] + distance[3] - distance[1]) / 3
    assert found.loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert found.aux["matched"].item() == pytest.approx(((distance[0] + distance[3]) / 2).item())
    assert found.aux["unmatched"].item() == pytest.approx(distance[1].item())
    assert word_region_alignment(words, regions, matched=matched == 1).loss < distance.mean()


def test_settings_out_of_range_are_refused():
    for options in ({"beta": 0.0}, {"iterations": 0}, {"inner": 0}):
        with pytest.raises(UserError, match="must be above 0"):
            transport_plan(LOPSIDED, **options)
