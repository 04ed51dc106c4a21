"""Boxes, phrases, relations and moments by hand, by brute force, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.metrics.boxes import check_boxes, iou, merged, paired_iou
from nonet.metrics.grounding import Relation, phrase_recall, referring_accuracy, relation_recall
from nonet.metrics.moments import moment_recall, time_iou

BOX = st.tuples(*[st.integers(0, 12)] * 4).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1]
)


def counted_iou(left: list[int], right: list[int]) -> float:
    """Unit cells in both, over those in either."""
    cells = [{(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])} for b in (left, right)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(BOX, BOX)
def test_iou_equals_counting_cells_and_does_not_depend_on_order(left: list[int], right: list[int]) -> None:
    a, b = check_boxes([left], scale="pixels"), check_boxes([right], scale="pixels")
    assert iou(a, b)[0, 0] == paired_iou(b, a)[0] == pytest.approx(counted_iou(left, right), abs=1e-12)
    assert iou(a, a)[0, 0] == 1


def test_an_overlap_of_exactly_one_half_is_wrong() -> None:
    assert referring_accuracy([[0, 0, 2, 2]], [[0, 0, 2, 4]]) == 0
    assert referring_accuracy([[0, 0, 2, 2.01]], [[0, 0, 2, 4]]) == 1
    assert referring_accuracy([[0, 0, 2, 2], [5, 5, 9, 9]], [[0, 0, 2, 4], [5, 5, 9, 9]]) == 0.5


def test_both_formats_of_boxes_give_the_same() -> None:
    xyxy, xywh = [[2, 3, 7, 9]], [[2, 3, 5, 6]]
    assert check_boxes(xywh, form="xywh").tolist() == xyxy
    other = {"xyxy": [[2, 3, 7, 8]], "xywh": [[2, 3, 5, 5]]}
    assert (
        referring_accuracy(xyxy, other["xyxy"]) == referring_accuracy(xywh, other["xywh"], form="xywh") == 1
    )


@pytest.mark.parametrize(
    ("boxes", "options", "message"),
    [
        ([[0, 0, 2, 2], [5, 1, 4, 2]], {}, r"boxes: box 1 \(from 0\) \[5.0, 1.0, 4.0, 2.0\] has x2 < x1"),
        ([[0, 4, 2, 2]], {}, "has x2 < x1 or y2 < y1; is it xywh"),
        ([[0, 0, 2, 2], [-1, 0, 4, 2], [-1, 0, 4, 2]], {}, r"box 1 .* negative number \(2 such boxes\)"),
        ([[0, 0, -2, 2]], {"form": "xywh"}, "box 0 .* negative number"),
        ([[0, 0, np.nan, 2]], {}, "box 0 .* not finite"),
        ([[0, 0, 20, 20], [0.1, 0.1, 0.5, 0.5]], {}, r"box 0 .* is in pixels and box 1 .* in 0..1"),
        ([[0, 0, 0.5, 0.5], [0, 0, 2, 2]], {"scale": "unit"}, "box 1 .* goes beyond 1"),
        ([[0, 0, 1]], {}, r"rows of 4 numbers, but their shape is \(1, 3\)"),
        ([[0, 0, 1, 1]], {"form": "cxcywh"}, "no format 'cxcywh'"),
    ],
)
def test_what_is_no_box_is_refused_with_its_index(boxes: Any, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_boxes(boxes, **options)


def test_small_boxes_are_taken_when_pixels_are_said_and_zero_boxes_always() -> None:
    assert len(check_boxes([[0, 0, 1, 1], [0, 0, 20, 20]], scale="pixels")) == 2
    assert len(check_boxes([[0, 0, 0, 0], [0, 0, 20, 20]])) == 2
    assert check_boxes([]).shape == (0, 4)
    with pytest.raises(UserError, match=r"one side is in 0..1 and the other in pixels"):
        referring_accuracy([[0.1, 0.1, 0.5, 0.5]], [[10, 10, 50, 50]])
    with pytest.raises(UserError, match="are 1 and 2"):
        referring_accuracy([[1, 1, 5, 5]], [[1, 1, 5, 5]] * 2)


def test_any_box_and_merged_box_differ() -> None:
    gold = [[[0, 0, 10, 10], [20, 0, 30, 10]]]  # merged: 0 0 30 10
    guesses = [[[50, 50, 60, 60], [0, 0, 10, 10], [0, 0, 30, 10]]]
    either = phrase_recall(guesses, gold, protocol="any", cuts=(1, 2, 3))
    around = phrase_recall(guesses, gold, protocol="merged", cuts=(1, 2, 3))
    assert either.at == {1: 0, 2: 1, 3: 1}
    assert around.at == {1: 0, 2: 0, 3: 1}
    assert either.bound == around.bound == 1
    assert merged(check_boxes(gold[0])).tolist() == [[0, 0, 30, 10]]


def test_phrases_at_exactly_one_half_count_and_those_without_guess_do_not() -> None:
    gold = [[[0, 0, 2, 4]], [[0, 0, 5, 5]]]
    scores = phrase_recall([[[0, 0, 2, 2]], []], gold, protocol="any")
    assert scores == ({1: 0.5, 5: 0.5, 10: 0.5}, 0.5, 2)
    with pytest.raises(UserError, match="phrase 1 has no true box"):
        phrase_recall([[], []], [gold[0], []], protocol="any")
    with pytest.raises(UserError, match="no protocol 'all'"):
        phrase_recall([[]], [gold[0]], protocol="all")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"phrase 0, predicted boxes: box 0 .* has x2 < x1"):
        phrase_recall([[[3, 0, 2, 2]]], gold[:1], protocol="any")
    with pytest.raises(UserError, match="from 1"):
        phrase_recall([[]], gold[:1], protocol="any", cuts=[0])


SUBJECT, OBJECT = [0, 0, 10, 10], [20, 0, 30, 10]


def test_relations_need_the_triple_and_both_boxes() -> None:
    truth = [[Relation(("man", "rides", "horse"), [SUBJECT, OBJECT])]]
    far = [[0, 0, 10, 10], [40, 0, 50, 10]]
    guesses = [
        [
            Relation(("man", "on", "horse"), [SUBJECT, OBJECT], 0.9),
            Relation(("man", "rides", "horse"), far, 0.8),
            Relation(("man", "rides", "horse"), [SUBJECT, OBJECT], 0.1),
        ]
    ]
    assert [relation_recall(guesses, truth, cut=k) for k in (1, 2, 3)] == [0, 0, 1]
    assert relation_recall(guesses, truth, cut=2, boxes="phrase") == 1  # 0..50 against 0..30: .6
    assert relation_recall(guesses, truth, cut=2, boxes="none") == 0
    assert relation_recall(guesses, truth, cut=3, boxes="none") == 1


def test_a_true_relation_is_found_once() -> None:
    relation = Relation(("a", "b", "c"), [SUBJECT, OBJECT])
    other = Relation(("a", "b", "c"), [[0, 0, 10, 8], OBJECT])
    assert relation_recall([[relation, relation]], [[relation, other]], cut=50) == 1
    assert relation_recall([[relation]], [[relation, other]], cut=50) == 0.5
    assert relation_recall([[], [relation]], [[relation], [relation]], cut=50) == 0.5


def test_relations_that_are_none_are_refused() -> None:
    relation = Relation(("a", "b", "c"), [SUBJECT, OBJECT])
    with pytest.raises(UserError, match="no true relations"):
        relation_recall([[relation]], [[]], cut=50)
    with pytest.raises(UserError, match="needs the two boxes"):
        relation_recall([[relation]], [[Relation(("a", "b", "c"), [SUBJECT])]], cut=50)
    with pytest.raises(UserError, match="image 0: the score of a predicted relation is not a number"):
        relation_recall([[relation._replace(score=np.nan)]], [[relation]], cut=50)
    with pytest.raises(UserError, match="cuts are from 1"):
        relation_recall([[relation]], [[relation]], cut=0)


def test_moments_by_hand() -> None:
    assert time_iou([[0, 10]], [[5, 15]])[0] == pytest.approx(1 / 3)
    assert time_iou([[0, 1]], [[2, 3]])[0] == 0
    guesses = [[[0, 10], [0, 20]], [[5, 6]], []]
    gold = [[0, 20], [0, 10], [0, 1]]
    assert moment_recall(guesses, gold, overlap=0.5) == pytest.approx(1 / 3)  # exactly one half counts
    assert moment_recall(guesses, gold, overlap=0.7) == 0
    assert moment_recall(guesses, gold, overlap=0.7, cut=2) == pytest.approx(1 / 3)
    with pytest.raises(UserError, match=r"query 1, predicted spans: span 0 \(from 0\) \[9.0, 8.0\]"):
        moment_recall([[[1, 2]], [[9, 8]]], [[1, 2], [3, 4]], overlap=0.5)
    with pytest.raises(UserError, match=r"overlap in 0\.\.1"):
        moment_recall([[]], [[1, 2]], overlap=50)
