import math

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.segmentation import Confusion


def counted(classes, *pairs):
    counts = Confusion(classes)
    for predicted, target in pairs:
        counts.add(predicted, target)
    return counts


def test_scores_of_seven_points_by_hand():
    counts = counted(3, ([0, 0, 1, 1, 2, 2, 0], [0, 0, 0, 1, 1, 2, -1]))
    assert counts.iou() == pytest.approx([2 / 3, 1 / 3, 1 / 2])
    assert counts.miou() == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)
    assert counts.macc() == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert counts.accuracy() == pytest.approx(4 / 6)
    assert counts.matrix[:, :3].tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_an_absent_class_scores_0_unless_present_ones_are_asked_for():
    counts = counted(4, ([0, 1, 1], [0, 1, 1]))
    assert counts.iou().tolist()[2:] == [0, 0]
    assert (counts.miou(), counts.macc()) == pytest.approx((0.5, 0.5))
    assert (counts.miou(present=True), counts.macc(present=True)) == pytest.approx((1.0, 1.0))


def test_a_class_that_is_only_found_is_present_for_iou_but_not_for_accuracy():
    counts = counted(2, ([0, 1], [0, 0]))
    assert counts.miou(present=True) == pytest.approx(0.25)
    assert counts.macc(present=True) == pytest.approx(0.5)


def test_predictions_at_ignored_points_count_nowhere():
    assert np.array_equal(counted(3, ([7, -5, 1], [-1, -1, 1])).matrix, counted(3, ([1], [1])).matrix)


def test_a_point_without_prediction_is_a_miss():
    counts = counted(2, ([-1, 0, 1], [0, 0, 1]))
    assert counts.iou() == pytest.approx([0.5, 1])
    assert counts.accuracy() == pytest.approx(2 / 3)


def test_another_value_may_be_ignored():
    counts = Confusion(3)
    counts.add(np.array([[0, 1], [2, 255]]), np.array([[0, 255], [2, 1]]), ignore=255)
    assert counts.iou() == pytest.approx([1, 0, 1])


def test_folds_add_up_before_they_are_divided():
    random = np.random.default_rng(0)
    folds = [(random.integers(0, 5, 50), random.integers(-1, 5, 50)) for _ in range(6)]
    one = counted(5, *folds)
    summed = sum((counted(5, fold) for fold in folds[1:]), start=counted(5, folds[0]))
    assert np.array_equal(one.matrix, summed.matrix)
    assert one.miou() != pytest.approx(np.mean([counted(5, fold).miou() for fold in folds]))


def test_torchmetrics_has_the_same_iou_of_present_classes():
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

    random = np.random.default_rng(1)
    predicted, target = random.integers(0, 6, 400), random.integers(-1, 6, 400)
    counts = counted(6, (predicted, target))
    given = torch.as_tensor(predicted), torch.as_tensor(target)
    peer = multiclass_jaccard_index(*given, 6, average="none", ignore_index=-1)
    assert counts.iou() == pytest.approx(peer.tolist(), abs=1e-6)
    peer = multiclass_accuracy(*given, 6, average="macro", ignore_index=-1)
    assert counts.macc() == pytest.approx(float(peer), abs=1e-6)
    assert np.array_equal(counted(6, given).matrix, counts.matrix), "tensors are taken, too"


def test_nothing_counted_has_no_score():
    counts = counted(3, (np.zeros(0, np.int64), np.zeros(0, np.int64)))
    assert math.isnan(counts.miou())
    assert math.isnan(counts.macc(present=True))
    assert math.isnan(counts.accuracy())


def test_labels_that_cannot_be_are_refused_with_their_values():
    for predicted, target, error in (
        ([0, 5, 9], [0, 1, 1], r"room: a prediction has label 5, but there are 3 classes.*\[5, 9\]"),
        ([0, 1], [0, 3], "room: the truth has label 3, but there are 3 classes"),
        ([0, -2], [0, 1], "a prediction has label -2"),
        ([0, 1], [0, -2], "the truth has label -2"),
        ([0.5, 1], [0, 1], "whole numbers, not float64"),
        ([0, 1, 2], [0, 1], r"predictions have shape \(3,\) and the truth \(2,\)"),
    ):
        with pytest.raises(UserError, match=error):
            Confusion(3).add(predicted, target, what="room")
    with pytest.raises(UserError, match="do not add up"):
        Confusion(3) + Confusion(4)
    with pytest.raises(UserError, match="at least 1"):
        Confusion(0)
