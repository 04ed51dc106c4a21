import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.panoptic import PanopticQuality, SegmentMap


def pixels_of(segments):
    """Every segment as a set of pixels."""
    found = {}
    for y, row in enumerate(segments.ids.tolist()):
        for x, number in enumerate(row):
            found.setdefault(number, set()).add((y, x))
    return found


def quality_by_sets(truth, found, kind):
    """PQ of one class from its definition, with sets of pixels."""
    mine, theirs = pixels_of(truth), pixels_of(found)
    void = mine.get(0, set())
    true = [n for n, k in truth.categories.items() if k == kind and n not in truth.crowd]
    crowds = [mine[n] for n in truth.crowd if truth.categories[n] == kind]
    predicted = [n for n, k in found.categories.items() if k == kind]
    overlaps, taken = [], set()
    for n in true:
        for m in predicted:
            overlap = len(mine[n] & theirs[m]) / len((mine[n] | theirs[m]) - (void & theirs[m]))
            if overlap > 0.5:
                overlaps.append(overlap)
                taken.add(m)
    wrong = 0
    for m in predicted:
        if m not in taken:
            ignored = len(theirs[m] & set().union(void, *crowds)) / len(theirs[m])
            wrong += ignored <= 0.5
    weight = len(overlaps) + (len(true) - len(overlaps)) / 2 + wrong / 2
    return sum(overlaps) / weight if weight else None


def drawn(random, count, kinds, crowd=0):
    """Rectangles over each other on a small field, the class of each, and some of them crowd."""
    ids = np.zeros((12, 14), np.int64)
    for number in range(1, count + 1):
        y, x = random.integers(0, 9), random.integers(0, 10)
        ids[y : y + random.integers(2, 8), x : x + random.integers(2, 8)] = number * 7
    kept = [int(n) for n in np.unique(ids) if n]
    classes = {n: int(random.integers(kinds)) for n in kept}
    return SegmentMap(ids, classes, tuple(kept[:crowd]))


@pytest.mark.parametrize("seed", range(20))
def test_panoptic_quality_is_that_of_sets_of_pixels(seed):
    random = np.random.default_rng(seed)
    truth = drawn(random, 6, 3, crowd=1)
    found = truth._replace(ids=np.roll(truth.ids, int(random.integers(2)), 1), crowd=())
    if seed % 2:
        found = drawn(random, 5, 3)
    quality = PanopticQuality({0: True, 1: True, 2: False})
    quality.add(truth, found)
    scores = quality.scores()
    wanted = {kind: quality_by_sets(truth, found, kind) for kind in range(3)}
    wanted = {kind: value for kind, value in wanted.items() if value is not None}
    assert {kind: one.pq for kind, one in scores.of_class.items()} == pytest.approx(wanted)
    assert scores.all.pq == pytest.approx(np.mean(list(wanted.values())))


def test_torchmetrics_counts_the_same_without_crowd_and_void():
    torch = pytest.importorskip("torch")
    from torchmetrics.detection import PanopticQuality as Peer

    random = np.random.default_rng(3)
    peer, ours = Peer(things={0, 1}, stuffs={2}), PanopticQuality({0: True, 1: True, 2: False})
    for _ in range(4):
        sides = []
        for shift in (0, 1):
            ids = np.zeros((16, 16), np.int64)
            ids[8:] = 1
            ids[2 : 6 + shift, 3:9] = 2
            ids[10:15, 4 : 10 - 2 * shift] = 3
            classes = {0: 2, 1: 2, 2: 0, 3: int(random.integers(2))}
            sides.append((ids, classes))
        (mine, kinds), (theirs, guesses) = sides
        # stuff is one segment a class and image
        merged = [np.where(ids <= 1, 1, ids) for ids in (mine, theirs)]
        names = [{1: 2, 2: kinds[2], 3: kinds[3]}, {1: 2, 2: guesses[2], 3: guesses[3]}]
        ours.add(SegmentMap(merged[0], names[0]), SegmentMap(merged[1], names[1]))
        pairs = [
            np.stack([np.vectorize(name.get)(ids), np.where(ids == 1, 0, ids)], -1)[None]
            for ids, name in zip(merged, names, strict=True)
        ]
        peer.update(torch.as_tensor(pairs[1]), torch.as_tensor(pairs[0]))
    assert ours.scores().all.pq == pytest.approx(float(peer.compute()), abs=1e-6)


def test_a_perfect_prediction_has_quality_one_and_things_and_stuff_are_told_apart():
    ids = np.array([[1, 1, 2, 2], [1, 1, 3, 3]])
    truth = SegmentMap(ids, {1: 5, 2: 6, 3: 5})
    quality = PanopticQuality({5: True, 6: False, 7: True})
    quality.add(truth, truth)
    scores = quality.scores()
    assert scores.all == (1, 1, 1, 2)
    assert scores.things == (1, 1, 1, 1)
    assert scores.stuff == (1, 1, 1, 1)
    assert set(scores.of_class) == {5, 6}


def test_an_overlap_of_exactly_one_half_is_no_match():
    truth = SegmentMap(np.array([[1, 1, 2, 2]]), {1: 0, 2: 1})
    found = SegmentMap(np.array([[1, 2, 2, 2]]), {1: 0, 2: 1})
    quality = PanopticQuality({0: True, 1: True})
    quality.add(truth, found)
    assert quality.scores().of_class[0].pq == 0
    assert quality.scores().of_class[1].pq == pytest.approx(2 / 3)


def test_nothing_at_all_has_no_quality():
    empty = SegmentMap(np.zeros((3, 3), np.int64), {})
    quality = PanopticQuality({0: True})
    quality.add(empty, empty)
    assert math.isnan(quality.scores().all.pq)
    assert quality.scores().all.classes == 0


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (SegmentMap(np.zeros((2, 3)), {}), "the truth is (2, 2) and the prediction (2, 3)"),
        (SegmentMap(np.array([[0, 9], [0, 0]]), {}), "segment 9 of the prediction has no class"),
        (SegmentMap(np.zeros((2, 2)), {4: 0}), "segment 4 of the prediction has no pixel"),
        (SegmentMap(np.array([[4, 4], [0, 0]]), {4: 3}), "class 3 of the prediction is unknown"),
    ],
)
def test_maps_that_do_not_fit_are_refused(found, error):
    quality = PanopticQuality({0: True})
    with pytest.raises(UserError) as caught:
        quality.add(SegmentMap(np.zeros((2, 2)), {}), found, "a.png")
    assert str(caught.value) == f"a.png: {error}"
