"""Normalised sums by hand, and the weight that training queries choose."""

import numpy as np
import pytest

from prop_ir.interpolation import GRID, mean_of, mixed, normalised, tuned_weight
from prop_ir.runs import steps_down


def test_normalised_scores_by_hand():
    scores = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(normalised(scores, "z"), [-np.sqrt(1.5), 0, np.sqrt(1.5)])
    np.testing.assert_allclose(normalised(scores, "min-max"), [0, 0.5, 1])


@pytest.mark.parametrize("how", ["z", "min-max"])
def test_equal_scores_and_no_scores(how):
    assert normalised(np.full(3, 0.1), how).tolist() == [0, 0, 0]
    assert normalised(np.full(1, -7.0), how).tolist() == [0]
    written = np.array(list(steps_down(dict.fromkeys(map(str, range(100)), 3.0)).values()), np.float64)
    assert written[0] > written[-1]
    assert not normalised(written, how).any()
    assert normalised(np.array([3.0, 3.001]), how).any()
    assert normalised(np.zeros(0), how).tolist() == []


def test_a_sum_by_hand():
    first, model = {"a": 30.0, "b": 20.0, "c": 10.0}, {"a": 0.0, "c": 4.0}
    assert mixed(first, model, 0.0) == model
    assert mixed(first, model, 0.25, "min-max") == {"a": 0.25, "c": 0.75}
    assert mixed(first, model, 0.25) == pytest.approx({"a": 0.25 - 0.75, "c": 0.75 - 0.25})


def test_scale_and_shift_of_either_side_change_nothing():
    first, model = {"a": 3.0, "b": 2.5, "c": 1.0}, {"a": -0.2, "b": 0.7, "c": 0.1}
    other = {name: 40 * value - 7 for name, value in model.items()}
    for how in ("z", "min-max"):
        assert mixed(first, other, 0.3, how) == pytest.approx(mixed(first, model, 0.3, how))


def runs(good_first):
    """A relevant document that one side puts first and the other last, among ten."""
    names = [f"d{i}" for i in range(10)]
    up = {name: 10.0 - place for place, name in enumerate(names)}
    down = {name: float(place) ** 0.5 for place, name in enumerate(names)}
    return (up, down) if good_first else (down, up)


def test_the_weight_follows_the_better_side():
    for good_first, better in ((True, lambda w: w > 0.5), (False, lambda w: w < 0.5)):
        first, model = runs(good_first)
        weight = tuned_weight({"q": first}, {"q": model}, {"q": {"d0": 1}}, ["q"], metric="MRR")
        assert better(weight)
        assert weight in GRID
        # of all weights that put it on top, the nearest to 1/2
        assert abs(weight - 0.5) == pytest.approx(0.3)  # by hand, 0.8 or 0.2


def test_only_the_named_queries_are_looked_at():
    (good, bad), qrels = runs(True), {"train": {"d0": 1}, "test": {"d9": 1}}
    first, model = {"train": good, "test": good}, {"train": bad, "test": bad}
    assert tuned_weight(first, model, qrels, ["train"], metric="MRR") > 0.5
    assert tuned_weight(first, model, qrels, ["test"], metric="MRR") < 0.5


def test_ties_are_broken_as_in_the_final_ranking():
    first, model = {"q": {"a": 2.0, "z": 2.0}}, {"q": {"a": 1.0, "z": 1.0}}
    for relevant, value in (("a", 1.0), ("z", 0.5)):
        found = tuned_weight(first, model, {"q": {relevant: 1}}, ["q"], metric="MRR", grid=(0.5, 1.0))
        assert found == 0.5
        assert mean_of(first, model, {"q": {relevant: 1}}, ["q"], 0.5, "MRR") == value


def test_without_queries_or_difference_both_count_the_same():
    assert tuned_weight({}, {}, {}, ["q"], metric="MRR") == 0.5
    same = {"q": {"a": 2.0, "b": 1.0}}
    assert tuned_weight(same, same, {"q": {"a": 1}}, ["q"], metric="nDCG@20") == 0.5
