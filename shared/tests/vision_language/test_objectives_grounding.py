"""Boxes and phrases, detection as a set: worked numbers, plain loops, another implementation, refusals."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from nonet.errors import UserError
from nonet.testing import needs, normal
from nonet.vision_language.objectives import (
    DetectionWeights,
    contrastive_alignment,
    corners,
    generalised_overlap,
    match_boxes,
    object_detection,
    phrase_grounding,
    phrase_positions,
    soft_token_prediction,
)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


MATCHES = torch.tensor([[0, 2], [0, 0], [1, 1]])
PHRASES = torch.tensor(
    [[True, True, False, False, False], [False, False, False, True, False], [True] + [False] * 4]
)
POSITIONS = phrase_positions(MATCHES, PHRASES, queries=4, batch=2)


def test_positions_stand_where_boxes_are_matched():
    assert POSITIONS.shape == (2, 4, 5)
    assert POSITIONS[0, 2].tolist() == PHRASES[0].tolist()
    assert POSITIONS.any(2).nonzero().tolist() == [[0, 0], [0, 2], [1, 1]]


def plain_focal(logit, true, gamma, alpha):
    p = 1 / (1 + math.exp(-logit))
    chance = p if true else 1 - p
    return (alpha if true else 1 - alpha) * (1 - chance) ** gamma * -math.log(chance)


def test_focal_loss_is_that_of_a_plain_loop_without_padding():
    logits = normal(2, 4, 5)
    mask = torch.tensor([[True] * 4 + [False], [True] * 3 + [False] * 2])
    total = sum(
        plain_focal(float(logits[b, q, t]), bool(POSITIONS[b, q, t]), 2.0, 0.25)
        for b in range(2)
        for q in range(4)
        for t in range(5)
        if mask[b, t]
    )
    found = phrase_grounding(logits, POSITIONS, mask)
    assert found.loss.item() == pytest.approx(total / 3, rel=1e-5)
    assert found.aux["boxes"].item() == 3
    assert phrase_grounding(logits, POSITIONS, mask, boxes=1.5).loss.item() == pytest.approx(
        total / 1.5, rel=1e-5
    )


def test_without_focus_and_weights_it_is_binary_cross_entropy():
    found = phrase_grounding(torch.zeros(2, 4, 5), POSITIONS, gamma=0, alpha=None).loss.item()
    assert found == pytest.approx(40 * math.log(2) / 3, rel=1e-6)


def test_scores_beyond_float32s_sigmoid_stay_finite():
    logits = torch.tensor([[[-200.0, 200.0, -200.0, 200.0, 0.0]]], requires_grad=True)
    right = torch.tensor([[[True, True, False, False, False]]])
    found = phrase_grounding(logits, right).loss
    assert found.item() == pytest.approx(0.25 * 200 + 0.75 * 200 + 0.75 * 0.25 * math.log(2), rel=1e-5)
    found.backward()
    assert logits.grad.isfinite().all()


def test_a_uniform_query_costs_the_log_of_its_classes():
    positions = torch.zeros(1, 1, 255).bool()
    positions[0, 0, 3:5] = True
    assert soft_token_prediction(torch.zeros(1, 1, 256), positions).loss.item() == pytest.approx(
        math.log(256)
    )


def test_soft_tokens_are_those_of_a_plain_loop():
    logits, total = normal(2, 4, 6), 0.0
    for b in range(2):
        for q in range(4):
            logs = logits[b, q].log_softmax(0)
            named = POSITIONS[b, q].nonzero()[:, 0]
            total -= logs[named].mean().item() if len(named) else 0.1 * logs[-1].item()
    assert soft_token_prediction(logits, POSITIONS).loss.item() == pytest.approx(total / 3, rel=1e-6)


def test_an_image_without_phrases_learns_that_there_is_none():
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    found = soft_token_prediction(logits, torch.zeros(1, 2, 3).bool())
    assert found.loss.item() == pytest.approx(0.2 * math.log(4))
    found.loss.backward()
    assert (logits.grad[..., -1] < 0).all()


def test_alignment_is_that_of_plain_loops():
    queries, tokens = normalize(normal(2, 4, 8), dim=-1), normalize(normal(2, 5, 8, seed=1), dim=-1)
    scores, total = torch.einsum("bqd,bld->bql", queries, tokens) / 0.07, 0.0
    for b in range(2):
        for matrix, right in ((scores[b], POSITIONS[b]), (scores[b].mT, POSITIONS[b].mT)):
            for row, truth in zip(matrix, right, strict=True):
                if truth.any():
                    total += (row.logsumexp(0) - row[truth].mean()).item() / 2
    found = contrastive_alignment(queries, tokens, POSITIONS)
    assert found.loss.item() == pytest.approx(total / 3, rel=1e-5)
    longer = torch.cat([tokens, normal(2, 3, 8)], 1)
    padded = torch.nn.functional.pad(POSITIONS, (0, 3))
    mask = torch.arange(8).expand(2, 8) < 5
    assert contrastive_alignment(queries, longer, padded, mask).loss.item() == pytest.approx(
        total / 3, rel=1e-5
    )
    assert contrastive_alignment(queries, longer, padded).loss > found.loss


def test_one_box_and_two_equal_tokens():
    tokens = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    found = contrastive_alignment(torch.tensor([[[1.0, 0.0]]]), tokens, torch.tensor([[[True, False]]]))
    assert found.loss.item() == pytest.approx(math.log(2) / 2)


# -------------------------------------------------------------------------------------------------- detection


def test_overlaps_by_hand():
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 2, 2]])
    second = torch.tensor([[1.0, 1, 3, 3], [2, 0, 3, 1], [0, 0, 2, 2]])
    assert generalised_overlap(first, second).tolist() == pytest.approx([1 / 7 - 2 / 9, -1 / 3, 1])
    assert corners(torch.tensor([0.5, 0.5, 0.2, 0.4])).tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7])
    assert generalised_overlap(torch.zeros(4), torch.zeros(4)).item() == 0


def scene(seed=0):
    boxes = 0.2 + 0.6 * uniform(2, 5, 4, seed=seed)
    true = 0.2 + 0.6 * uniform(4, 4, seed=seed + 1)
    return normal(2, 5, 4, seed=seed), boxes, torch.tensor([0, 2, 1, 2]), true, torch.tensor([0, 1, 0, 0])


def total_cost(logits, boxes, labels, true, matches):
    cost = 0.0
    for (image, query), label, box in zip(matches.tolist(), labels.tolist(), true, strict=True):
        cost -= logits[image, query].softmax(0)[label].item()
        cost += 5 * (boxes[image, query] - box).abs().sum().item()
        cost -= 2 * generalised_overlap(corners(boxes[image, query]), corners(box)).item()
    return cost


@needs("scipy")
def test_no_other_assignment_of_boxes_is_cheaper():
    from itertools import permutations

    logits, boxes, labels, true, image_of = scene()
    matches = match_boxes(logits, boxes, labels, true, image_of)
    assert matches[:, 0].equal(image_of)
    best = math.inf
    rows = [0, 2, 3]
    for queries in permutations(range(5), 3):
        for lone in range(5):
            chosen = matches.clone()
            chosen[rows, 1], chosen[1, 1] = torch.tensor(queries), lone
            best = min(best, total_cost(logits, boxes, labels, true, chosen))
    assert total_cost(logits, boxes, labels, true, matches) == pytest.approx(best, abs=1e-5)


@needs("scipy")
@needs("transformers")
def test_matched_set_is_that_of_transformers():
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

    logits, boxes, labels, true, image_of = scene(3)
    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    criterion = ImageLoss(matcher, num_classes=3, eos_coef=0.1, losses=["labels", "boxes"])
    targets = [{"class_labels": labels[image_of == i], "boxes": true[image_of == i]} for i in range(2)]
    theirs = criterion({"logits": logits, "pred_boxes": boxes}, targets)
    matches = match_boxes(logits, boxes, labels, true, image_of)
    found = object_detection(logits, boxes, labels, true, matches)
    for ours, name in (("labels", "loss_ce"), ("boxes", "loss_bbox"), ("overlap", "loss_giou")):
        assert found.aux[ours].item() == pytest.approx(theirs[name].item(), rel=1e-5)
    expected = theirs["loss_ce"] + 5 * theirs["loss_bbox"] + 2 * theirs["loss_giou"]
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_attributes_are_asked_of_matched_boxes_that_have_one():
    logits, boxes, labels, true, image_of = scene()
    matches = torch.stack([image_of, torch.tensor([0, 1, 2, 3])], 1)
    attribute_logits, attributes = normal(2, 5, 7, seed=9), torch.tensor([3, -100, 6, 0])
    plain = object_detection(logits, boxes, labels, true, matches).loss.item()
    found = object_detection(
        logits, boxes, labels, true, matches, attribute_logits=attribute_logits, attributes=attributes
    )
    at = attribute_logits[image_of, torch.tensor([0, 1, 2, 3])]
    expected = cross_entropy(at, attributes).item()
    assert found.aux["attributes"].item() == pytest.approx(expected, rel=1e-6)
    assert found.loss.item() == pytest.approx(plain + expected, rel=1e-6)


def test_perfect_boxes_and_classes_cost_nothing():
    _, _, labels, true, image_of = scene()
    matches = torch.stack([image_of, torch.tensor([4, 2, 0, 1])], 1)
    boxes, logits = torch.rand(2, 5, 4), torch.zeros(2, 5, 4)
    logits[..., -1] = 60.0
    boxes[matches[:, 0], matches[:, 1]] = true
    logits[matches[:, 0], matches[:, 1]] = 60.0 * torch.nn.functional.one_hot(labels, 4)
    assert object_detection(logits, boxes, labels, true, matches).loss.item() == pytest.approx(0, abs=1e-5)


def test_a_picture_without_objects_learns_that_there_are_none():
    logits, boxes = torch.zeros(1, 3, 4, requires_grad=True), torch.rand(1, 3, 4, requires_grad=True)
    none = torch.zeros(0).long()
    found = object_detection(logits, boxes, none, torch.zeros(0, 4), torch.zeros(0, 2).long())
    assert found.loss.item() == pytest.approx(math.log(4))
    found.loss.backward()
    assert boxes.grad.eq(0).all()
    weights = DetectionWeights(labels=2.0)
    doubled = object_detection(
        logits, boxes, none, torch.zeros(0, 4), torch.zeros(0, 2).long(), weights=weights
    )
    assert doubled.loss.item() == pytest.approx(2 * math.log(4))


@needs("scipy")
def test_more_true_boxes_than_queries_are_refused():
    with pytest.raises(UserError, match="an image has 3 true boxes, but there are only 2 queries"):
        match_boxes(
            torch.zeros(1, 2, 3),
            torch.rand(1, 2, 4),
            torch.tensor([0, 1, 1]),
            torch.rand(3, 4),
            torch.zeros(3).long(),
        )
    nothing = torch.zeros(0).long()
    assert match_boxes(
        torch.zeros(1, 2, 3), torch.rand(1, 2, 4), nothing, torch.zeros(0, 4), nothing
    ).shape == (0, 2)
