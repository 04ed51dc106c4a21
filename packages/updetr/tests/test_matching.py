"""Matching against transformers' matcher, brute force, and what must not change it."""

from itertools import permutations

import pytest
import torch
from transformers.loss.loss_for_object_detection import HungarianMatcher

from nonet.testing import normal, seeded
from updetr.batches import Outputs, Targets
from updetr.matching import Costs, NotFinite, match


def predictions(layers=3, images=4, queries=12, classes=3, seed=0, dtype=torch.float32):
    boxes = normal(layers, images, queries, 4, seed=seed + 1).sigmoid()
    return Outputs(normal(layers, images, queries, classes + 1, seed=seed).to(dtype), boxes.to(dtype))


def truth(counts, classes=3, seed=5):
    random = seeded(seed)
    centre = torch.rand(sum(counts), 2, generator=random) * 0.6 + 0.2
    size = torch.rand(sum(counts), 2, generator=random) * 0.3 + 0.05
    labels = torch.randint(classes, (sum(counts),), generator=random)
    return Targets(labels, torch.cat([centre, size], 1), list(counts))


def pairs_of(matches, layer, image):
    """(query, box in the batch) of one image, by query."""
    mine = matches.images[layer] == image
    return list(zip(matches.queries[layer][mine].tolist(), matches.boxes[layer][mine].tolist(), strict=True))


def peers_pairs(outputs, targets, layer):
    """What transformers' matcher pairs, image by image, with the boxes numbered over the batch."""
    dictionaries = [
        {"class_labels": labels, "boxes": boxes}
        for labels, boxes in zip(
            targets.labels.split(targets.counts), targets.boxes.split(targets.counts), strict=True
        )
    ]
    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    found = matcher({"logits": outputs.logits[layer], "pred_boxes": outputs.boxes[layer]}, dictionaries)
    pairs, first = [], 0
    for (queries, boxes), count in zip(found, targets.counts, strict=True):
        pairs.append([(q, b + first) for q, b in zip(queries.tolist(), boxes.tolist(), strict=True)])
        first += count
    return pairs


@pytest.mark.parametrize("counts", [[3, 3, 3, 3], [0, 5, 1, 12], [2, 0, 0, 0], [0, 0, 0, 0], [14, 1, 3, 2]])
def test_every_layer_is_matched_as_transformers_matches_it(counts):
    outputs, targets = predictions(), truth(counts)
    matches = match(outputs, targets)
    for layer in range(3):
        wanted = peers_pairs(outputs, targets, layer)
        assert [pairs_of(matches, layer, image) for image in range(4)] == wanted
    assert matches.unmatched == max(counts[0] - 12, 0)
    assert matches.queries.shape == (3, sum(counts) - matches.unmatched)


def pair_cost(outputs, targets, layer, image, query, box):
    """The cost of one pair in plain numbers."""
    p = outputs.logits[layer, image, query].softmax(-1)[targets.labels[box]].item()
    b, t = outputs.boxes[layer, image, query].tolist(), targets.boxes[box].tolist()
    l1 = sum(abs(x - y) for x, y in zip(b, t, strict=True))
    (bl, bt, br, bb), (tl, tt, tr, tb) = (
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (b, t)
    )
    common = max(min(br, tr) - max(bl, tl), 0) * max(min(bb, tb) - max(bt, tt), 0)
    union = b[2] * b[3] + t[2] * t[3] - common
    around = (max(br, tr) - min(bl, tl)) * (max(bb, tb) - min(bt, tt))
    return -p + 5 * l1 - 2 * (common / union - (around - union) / around)


def test_no_other_assignment_costs_less():
    outputs, targets = predictions(1, 2, 6), truth([4, 2])
    matches = match(outputs, targets)
    for image, boxes in enumerate([range(4), range(4, 6)]):
        table = [[pair_cost(outputs, targets, 0, image, q, box) for box in boxes] for q in range(6)]
        least = min(
            sum(table[q][t] for t, q in enumerate(chosen)) for chosen in permutations(range(6), len(boxes))
        )
        paid = sum(table[q][box - boxes[0]] for q, box in pairs_of(matches, 0, image))
        assert paid == pytest.approx(least, abs=1e-5)


def test_permuted_boxes_are_matched_with_the_same_queries():
    outputs, targets = predictions(2, 1, 9), truth([5])
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = match(outputs, targets)
    permuted = match(outputs, Targets(targets.labels[order], targets.boxes[order], [5]))
    assert torch.equal(permuted.queries, plain.queries)
    assert torch.equal(order[permuted.boxes], plain.boxes)


def test_within_groups_each_box_gets_the_cheapest_query_of_its_own_group():
    outputs = predictions(3, 2, 12)
    targets = truth([4, 2])._replace(groups=torch.tensor([0, 1, 2, 3, 3, 0]))
    matches = match(outputs, targets, group=3)
    assert torch.equal(matches.boxes, torch.arange(6).expand(3, -1))
    assert torch.equal(matches.images, torch.tensor([0, 0, 0, 0, 1, 1]).expand(3, -1))
    for layer in range(3):
        for box, (image, group) in enumerate([(0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (1, 0)]):
            own = range(3 * group, 3 * group + 3)
            costs = {q: pair_cost(outputs, targets, layer, image, q, box) for q in own}
            assert matches.queries[layer, box].item() == min(costs, key=costs.__getitem__)


def test_weights_decide():
    outputs, targets = predictions(1, 1, 9), truth([1])
    by_class = match(outputs, targets, costs=Costs(1, 0, 0)).queries.item()
    assert by_class == outputs.logits[0, 0].softmax(-1)[:, targets.labels[0]].argmax().item()
    by_distance = match(outputs, targets, costs=Costs(0, 1, 0)).queries.item()
    assert by_distance == (outputs.boxes[0, 0] - targets.boxes[0]).abs().sum(-1).argmin().item()


def test_predictions_that_are_no_numbers_are_refused_with_their_place():
    outputs, targets = predictions(), truth([1, 2, 0, 3])
    outputs.boxes[2, 3, 5, 0] = float("nan")
    with pytest.raises(NotFinite, match="decoder layer 2 for image 3 of the batch are not finite"):
        match(outputs, targets)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"counts": [1, 2]}, r"counts \[1, 2\] do not fit 4 images with 6 boxes"),
        ({"labels": torch.tensor([0, 1, 2, 3, 7, 1])}, "labels are 0 to 7, but there are only 4 logits"),
    ],
)
def test_targets_that_do_not_fit_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        match(predictions(), truth([1, 2, 0, 3])._replace(**change))


@pytest.mark.parametrize(
    ("groups", "size", "text"),
    [
        (None, 3, "needs the group of each box"),
        ([0, 1, 1, 2, 0, 3], 3, "two boxes of an image are of the same group"),
        ([0, 1, 2, 2, 0, 4], 3, "groups are 0 to 4, but there are only 4"),
        ([0, 1, 2, 2, 0, 1], 5, "12 queries do not make groups of 5"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, size, text):
    targets = truth([1, 2, 0, 3])._replace(groups=None if groups is None else torch.tensor(groups))
    with pytest.raises(ValueError, match=text):
        match(predictions(), targets, group=size)
