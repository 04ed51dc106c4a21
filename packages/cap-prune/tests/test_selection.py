"""The choice of units: the published counts, loops, and what holds at every level."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cap_prune.selection import check_targets, choose, pruned_count
from cap_prune.unit_scores import UnitScores
from cap_prune.units import Units
from nonet.errors import UserError
from nonet.testing import seeded

LEVELS = range(10, 100, 10)


def random_scores(units, seed=0):
    random = seeded(seed)
    return UnitScores(
        *([torch.rand(len(each), generator=random) for each in side] for side in (units.heads, units.neurons))
    )


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        (144, [14, 28, 43, 57, 72, 86, 100, 115, 129]),
        (72, [7, 14, 21, 28, 36, 43, 50, 57, 64]),
        (12 * 3072, [3686, 7372, 11059, 14745, 18432, 22118, 25804, 29491, 33177]),
    ],
)
def test_so_many_units_are_gone_at_each_level(total, counts):
    assert [pruned_count(total, level) for level in LEVELS] == counts


@pytest.mark.parametrize(("layers", "heads", "neurons"), [(12, 12, 3072), (6, 12, 1536)])
def test_nine_levels_prune_the_published_counts_one_out_of_the_other(layers, heads, neurons):
    units = Units.full(layers, heads, neurons)
    for level in LEVELS:
        left = choose(random_scores(units, level), units, level)
        assert units.holds(left)
        assert layers * heads - left.live_heads == pruned_count(layers * heads, level)
        assert layers * neurons - left.live_neurons == pruned_count(layers * neurons, level)
        assert all(left.heads)
        units = left


def plain(scores, sizes, percent):
    """The original's list of tuples, for a dense model: what is left of each layer."""
    ranked = []
    for layer, row in enumerate(scores):
        norm = sum(float(score) ** 2 for score in row) ** 0.5
        ranked += [(float(score) / (norm + 1e-20), layer, number) for number, score in enumerate(row)]
    go = sorted(ranked)[: int(len(ranked) * percent / 100)]
    gone = {(layer, number) for _, layer, number in go}
    return tuple(
        tuple(number for number in range(size) if (layer, number) not in gone)
        for layer, size in enumerate(sizes)
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]), min_size=6, max_size=6), min_size=1, max_size=4
    ),
    st.floats(0, 99),
)
def test_neurons_are_those_of_a_sorted_list_ties_too(rows, percent):
    layers = len(rows)
    scores = UnitScores([torch.ones(200) for _ in rows], [torch.tensor(row) for row in rows])
    left = choose(scores, Units.full(layers, 200, 6), percent)
    assert left.neurons == plain(rows, [6] * layers, percent)


def test_scores_are_compared_within_their_layers():
    """The first layer's are a hundred times those of the second, and this does not save it."""
    row = torch.tensor([1.0, 2.0, 3.0, 4.0])
    scores = UnitScores([100 * row, row], [100 * row, row])
    left = choose(scores, Units.full(2, 4, 4), 50)
    assert left.neurons == ((2, 3), (2, 3))
    assert left.heads == ((2, 3), (2, 3))


def test_the_best_live_head_of_a_layer_stays_at_every_level():
    """The four heads of layer 0 are all below the better two of layer 1, and six of eight have to go."""
    scores = UnitScores([torch.ones(4), torch.tensor([0.1, 1.0, 1.0, 0.1])], [torch.ones(2)] * 2)
    assert choose(scores, Units.full(2, 4, 2), 75).heads == ((0,), (1,))
    live = Units(((1, 2, 3), (1, 2)), ((0, 1), (0, 1)), 4, 2)  # dead heads cannot stand in for live ones
    scores = UnitScores([torch.ones(3), torch.tensor([1.0, 1.1])], [torch.ones(2)] * 2)
    assert choose(scores, live, 75).heads == ((1,), (2,))


def test_a_layer_may_lose_all_neurons_and_numbers_are_those_of_the_dense_model():
    units = Units(((0, 3), (1,)), ((1, 5), (0, 3, 4)), 4, 6)
    scores = UnitScores(
        [torch.tensor([1.0, 2.0]), torch.ones(1)], [torch.zeros(2), torch.tensor([1.0, 0.5, 0.7])]
    )
    left = choose(scores, units, 75)  # 9 of 12 neurons and 6 of 8 heads are to be gone, 7 and 5 are
    assert left.neurons == ((), (0, 3, 4))
    assert left.heads == ((3,), (1,))


def test_nothing_goes_at_0_percent():
    units = Units.full(2, 4, 8)
    assert choose(random_scores(units), units, 0) == units


def test_a_score_that_is_not_finite_is_refused():
    units = Units.full(1, 2, 2)
    with pytest.raises(ValueError, match="neurons: a score is not finite"):
        choose(UnitScores([torch.ones(2)], [torch.tensor([1.0, float("nan")])]), units, 50)
    with pytest.raises(ValueError, match="heads: scores for"):
        choose(UnitScores([torch.ones(3)], [torch.ones(2)]), units, 50)


MINILM = Units.full(6, 12, 1536)
SLIM = Units((tuple(range(6)),) * 6, (tuple(range(768)),) * 6, 12, 1536)


@pytest.mark.parametrize(
    ("units", "targets", "words"),
    [
        (MINILM, [], "no target is given"),
        (MINILM, [10, 100], "target 100 is not possible"),
        (MINILM, [-1], "target -1 is not possible"),
        (MINILM, [20, 10], "target 10 comes after 20"),
        (MINILM, [10, 10, 20], "target 10 is there twice"),
        (
            MINILM,
            [50, 95],
            "target 95 would leave 4 of 72 heads, and 6 are needed, one in each layer: prune at ",
        ),
        (SLIM, [30, 60], "target 30 is below what is pruned already: 36 of 72 heads, 50 %"),
    ],
)
def test_targets_that_cannot_be_are_refused_before_training(units, targets, words):
    with pytest.raises(UserError, match=words):
        check_targets(units, targets)


def test_the_greatest_target_that_is_named_can_be_reached():
    with pytest.raises(UserError, match=r"prune at most 91\.6 %"):
        check_targets(MINILM, [95])
    check_targets(MINILM, [0, 50, 91.6])
    check_targets(SLIM, [50, 90])
