"""Lengths, places and the order of the sets of a pair, by hand."""

import math

import numpy as np
import pytest

from prop_ir.pairs import PairBatch, Tally, find, length_reach, order


@pytest.mark.parametrize("mean", [0.01, 1.0, 40.0])
def test_length_tables_hold_the_whole_distribution(mean):
    reach = length_reach(mean)
    law = np.diff(reach, prepend=0)
    assert reach[-1] == 1
    assert (law >= 0).all()
    assert (law * np.arange(1, len(law) + 1)).sum() == pytest.approx(mean / -math.expm1(-mean))


@pytest.mark.parametrize(("scores", "first"), [((-1.0, -1.0), 2), ((-1.0, -2.0), 1), ((-2.0, -1.0), 2)])
def test_the_better_set_comes_first_and_of_equals_it_is_the_second(scores, first):
    words, both = np.array([[9, 1, 1], [9, 2, 2]], np.uint32), np.array(scores)[:, None]
    order(words, both, 0, 1, 3)
    assert words.tolist() == [[9, first, first], [9, 3 - first, 3 - first]]
    assert both[:, 0].tolist() == sorted(scores, reverse=True)


def test_a_place_is_found_as_bisection_finds_it():
    reach = np.cumsum(np.random.default_rng(0).gamma(0.3, 1, 37).round(1))  # with places of no weight
    for size in range(1, 38):
        for x in [0.0, *(reach[:size] - 0.05), *reach[: size - 1]]:
            if 0 <= x < reach[size - 1]:
                assert find(reach, size, x) == np.searchsorted(reach[:size], x, side="right")


def test_a_batch_is_a_list_of_pairs_and_tallies_add_up():
    words = np.arange(10, dtype=np.uint32)
    scores = np.array([-1.0, -2.0]), np.array([-3.0, -4.0])
    tally = Tally(pairs=2, words=10, inside=3)
    batch = PairBatch(np.array([0, 2, 5]), words[:5], words[5:], *scores, tally)
    assert len(batch) == 2
    assert [part.tolist() for part in batch[1][:2]] == [[2, 3, 4], [7, 8, 9]]
    assert batch[-1][2:] == (-2.0, -4.0)
    with pytest.raises(IndexError):
        batch[2]
    assert tally + tally == Tally(pairs=4, words=20, inside=6)
