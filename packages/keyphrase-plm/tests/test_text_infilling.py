"""Text infilling: the budget is exact, spans keep to words and apart, lengths are Poisson's."""

from collections import Counter
from itertools import product
from math import ceil, exp, factorial

import numpy as np
import pytest

from keyphrase_plm.text_infilling import draw_lengths, infill, place

MASK = 999


def text(n, seed=0):
    draw = np.random.default_rng([7, seed, n])
    return np.arange(n, dtype=np.int32), draw.random(n) < 0.7


def spans_of(corrupted, n):
    """Masks with what they stand for: (first lost place, places lost), 0 for an inserted mask."""
    found, before = [], -1
    pieces = [*corrupted.tolist(), n]
    for place_, piece in enumerate(pieces):
        if piece != MASK:
            masks = 0
            while place_ - masks - 1 >= 0 and pieces[place_ - masks - 1] == MASK:
                masks += 1
            found.append((before + 1, piece - before - 1, masks))
            before = piece
    return [gap for gap in found if gap[1] or gap[2]]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 37, 120])
def test_a_share_of_the_tokens_rounded_up_is_taken_away_exactly(n):
    for seed in range(30):
        ids, starts = text(n, seed)
        out = infill(ids, starts, np.random.default_rng(seed), mask=MASK)
        kept = out[out != MASK]
        assert len(kept) == n - ceil(0.3 * n)
        assert (np.diff(kept) > 0).all(), "what is left keeps its order"


def test_masks_lie_side_by_side_only_where_one_was_inserted():
    beside = 0
    for seed in range(200):
        ids, starts = text(80, seed)
        random = np.random.default_rng(seed)
        _, inserted = draw_lengths(ceil(0.3 * 80), 3.5, np.random.default_rng(seed))
        out = infill(ids, starts, random, mask=MASK)
        adjacent = int(((out[1:] == MASK) & (out[:-1] == MASK)).sum())
        assert adjacent <= inserted
        beside += adjacent
    assert beside > 0


def test_spans_begin_at_word_starts():
    for seed in range(100):
        ids, starts = text(60, seed)
        starts[0] = True
        for first, lost, _ in spans_of(infill(ids, starts, np.random.default_rng(seed), mask=MASK), 60):
            if lost:
                assert starts[first]


def test_lengths_before_the_cut_are_those_of_a_poisson_distribution():
    draw = np.random.default_rng(0)
    lengths, inserted = draw_lengths(200_000, 3.5, draw)
    count = len(lengths) + inserted
    assert sum(lengths) == 200_000
    assert sum(lengths) / count == pytest.approx(3.5, rel=0.01)
    seen = Counter(lengths) | Counter({0: inserted})
    for k in range(8):
        assert seen[k] / count == pytest.approx(exp(-3.5) * 3.5**k / factorial(k), abs=0.004)


def test_every_placement_of_spans_is_equally_likely():
    starts = np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)
    wanted = {
        (a, b)
        for a, b in product(range(8), repeat=2)
        if starts[a] and starts[b] and a + 2 < b and b + 1 <= 8  # lengths 2 and 1, a kept token between them
    }
    draw = np.random.default_rng(1)
    seen = Counter(tuple(place([2, 1], starts, draw)[0]) for _ in range(6000))
    assert set(seen) == wanted
    assert max(seen.values()) / min(seen.values()) < 1.25


def test_spans_without_room_apart_become_one():
    starts = np.ones(6, bool)
    at, lengths = place([1, 1, 1, 1, 1], starts, np.random.default_rng(0))
    assert sum(lengths) == 5
    assert all(a + n < b for a, n, b in zip(at, lengths, at[1:], strict=False))


def test_a_text_of_one_word_is_masked_from_its_start():
    ids = np.arange(10, dtype=np.int32)
    out = infill(ids, np.zeros(10, bool), np.random.default_rng(3), mask=MASK)
    assert out[0] == MASK
    assert out[out != MASK].tolist() == list(range(3, 10))


def test_nothing_is_masked_of_nothing_or_with_no_share():
    empty, none = np.zeros(0, np.int32), np.zeros(0, bool)
    assert len(infill(empty, none, np.random.default_rng(0), mask=MASK)) == 0
    ids, starts = text(20)
    assert infill(ids, starts, np.random.default_rng(0), mask=MASK, share=0).tolist() == ids.tolist()


def test_random_tokens_stand_for_a_tenth_of_the_spans():
    masks = spans = 0
    for seed in range(300):
        ids, starts = text(60, seed)
        plain = infill(ids + 1000, starts, np.random.default_rng(seed), mask=MASK)
        out = infill(ids + 1000, starts, np.random.default_rng(seed), mask=MASK, replace=0.1, vocabulary=500)
        spans += int((plain == MASK).sum())
        masks += int((out == MASK).sum())
    assert 1 - masks / spans == pytest.approx(0.1, abs=0.02)


def test_the_same_numbers_give_the_same_masks():
    ids, starts = text(90)
    one, two, other = (infill(ids, starts, np.random.default_rng(s), mask=MASK) for s in (4, 4, 5))
    assert one.tolist() == two.tolist()
    assert one.tolist() != other.tolist()
