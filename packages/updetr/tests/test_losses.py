"""Losses against transformers' ImageLoss, hand values, and what must not change them."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers.loss.loss_deformable_detr import (
    DeformableDetrHungarianMatcher,
    DeformableDetrImageLoss,
)
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

from nonet.testing import normal
from nonet.testing_ranks import two_processes
from updetr.batches import Outputs, Targets
from updetr.losses import SetLoss
from updetr.matching import Costs, match

COUNTS = [3, 0, 5, 1]


def predictions(layers=3, images=4, queries=12, logits=4, features=None, seed=0):
    boxes = normal(layers, images, queries, 4, seed=seed + 1).sigmoid()
    said = None if features is None else normal(layers, images, queries, features, seed=seed + 2)
    return Outputs(normal(layers, images, queries, logits, seed=seed), boxes, said)


def truth(counts=COUNTS, classes=3, features=None, seed=5):
    total = sum(counts)
    boxes = normal(total, 4, seed=seed).sigmoid() * 0.5 + 0.2
    labels = normal(total, seed=seed + 1).abs().mul(10).long() % classes
    wanted = None if features is None else normal(total, features, seed=seed + 2)
    groups = torch.cat([torch.arange(count) for count in counts]) % 4
    return Targets(labels, boxes, list(counts), wanted, groups)


def peers_losses(outputs, targets, loss):
    """transformers' loss, layer by layer."""
    dictionaries = [
        {"class_labels": labels, "boxes": boxes}
        for labels, boxes in zip(
            targets.labels.split(targets.counts), targets.boxes.split(targets.counts), strict=True
        )
    ]
    layers = range(len(outputs.logits))
    return [loss({"logits": outputs.logits[i], "pred_boxes": outputs.boxes[i]}, dictionaries) for i in layers]


@pytest.mark.parametrize("counts", [COUNTS, [2, 2, 2, 2], [0, 0, 0, 0], [0, 0, 1, 0]])
def test_every_part_and_the_gradient_are_those_of_transformers(counts):
    outputs, targets = predictions(), truth(counts)
    leaves = [part.requires_grad_() for part in outputs[:2]]
    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    peer = ImageLoss(matcher, 3, 0.1, ["labels", "boxes", "cardinality"])
    theirs = peers_losses(outputs, targets, peer)
    ours = SetLoss(classes=3)(outputs, targets)
    sums = {name: sum(layer[name] for layer in theirs) for name in theirs[0]}
    wanted = {
        "class": sums["loss_ce"],
        "l1": 5 * sums["loss_bbox"],
        "giou": 2 * sums["loss_giou"],
    }
    assert ours.terms.keys() == wanted.keys()
    for name, term in wanted.items():
        torch.testing.assert_close(ours.terms[name], term, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.logged["cardinality"], theirs[-1]["cardinality_error"])
    boxes = max(sum(counts), 1)
    torch.testing.assert_close(ours.logged["l1"], theirs[-1]["loss_bbox"].detach() * (sum(counts) / boxes))
    found = torch.autograd.grad(ours.total, leaves)
    torch.testing.assert_close(found, torch.autograd.grad(sum(wanted.values()), leaves), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("counts", [COUNTS, [0, 0, 0, 0]])
def test_the_focal_loss_is_that_of_deformable_detr_also_where_there_are_no_boxes(counts):
    outputs, targets = predictions(logits=3), truth(counts)
    matcher = DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2)
    peer = DeformableDetrImageLoss(matcher, 3, 0.25, ["labels", "boxes"])
    theirs = peers_losses(outputs, targets, peer)
    loss = SetLoss(classes=3, sigmoid=True, class_weight=2, costs=Costs(2, 5, 2))
    ours = loss(outputs, targets)
    for name, of_theirs, weight in (
        ("class", "loss_ce", 2),
        ("l1", "loss_bbox", 5),
        ("giou", "loss_giou", 2),
    ):
        wanted = weight * sum(layer[of_theirs] for layer in theirs)
        torch.testing.assert_close(ours.terms[name], wanted, rtol=1e-5, atol=1e-6)


def test_images_without_boxes_teach_a_detector_whose_scores_are_overlaps():
    outputs, targets = predictions(logits=3), truth([0, 0, 0, 0])
    loss = SetLoss(classes=3, sigmoid=True, iou_aware=True)
    found, wanted = loss(outputs, targets).total, loss(outputs, targets, num_boxes=1).total
    assert found == wanted
    assert found > 0.1


def test_reconstruction_is_two_less_two_cosines_of_the_matched_pairs():
    outputs, targets = predictions(features=7), truth(features=7)
    loss = SetLoss(classes=3)
    pairs = match(outputs, targets)
    total = sum(
        2 - 2 * F.cosine_similarity(outputs.features[layer, image, query], targets.features[box], dim=0)
        for layer in range(3)
        for image, query, box in zip(
            pairs.images[layer], pairs.queries[layer], pairs.boxes[layer], strict=True
        )
    )
    found = loss(outputs, targets)
    torch.testing.assert_close(found.terms["reconstruction"], total / sum(COUNTS), rtol=1e-5, atol=1e-6)
    assert 0 < found.logged["reconstruction"] < 4


def test_what_is_reconstructed_gets_no_gradient_and_its_length_does_not_matter():
    outputs, targets = predictions(features=7), truth(features=7)
    targets.features.requires_grad_()
    outputs.features.requires_grad_()
    loss = SetLoss(classes=3)
    first = loss(outputs, targets).terms["reconstruction"]
    first.backward()
    assert targets.features.grad is None
    assert outputs.features.grad.abs().sum() > 0
    longer = outputs._replace(features=outputs.features * 3)
    torch.testing.assert_close(loss(longer, targets).terms["reconstruction"], first)


def test_without_objects_a_uniform_guess_over_two_classes_costs_ln_2_whatever_the_weight():
    outputs = Outputs(torch.zeros(1, 2, 6, 2), torch.full((1, 2, 6, 4), 0.5))
    for no_object in (0.01, 0.1, 1.0):
        found = SetLoss(classes=1, no_object=no_object)(outputs, truth([0, 0], classes=1))
        assert found.terms["class"].item() == pytest.approx(math.log(2))
        assert found.terms["l1"].item() == found.terms["giou"].item() == 0


@pytest.mark.parametrize(("group", "given", "weight"), [(None, None, 0.1), (4, None, 0.25), (4, 0.7, 0.7)])
def test_no_object_weighs_patches_over_queries_unless_told_otherwise(group, given, weight):
    logits = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]]])  # box 0.5 is right: the first query is matched
    outputs = Outputs(logits, torch.tensor([[[[0.5] * 4, [0.9] * 4]]]))
    targets = Targets(torch.tensor([0]), torch.full((1, 4), 0.5), [1])
    parts = math.log(1 + math.exp(-3)), math.log(1 + math.exp(-1))
    wanted = (parts[0] + weight * parts[1]) / (1 + weight)
    found = SetLoss(classes=1, group=group, no_object=given)(outputs, targets)
    assert found.terms["class"].item() == pytest.approx(wanted)


def test_boxes_that_are_right_cost_nothing_and_are_counted_as_right():
    targets = truth([2, 1])
    boxes = torch.full((1, 2, 4, 4), 0.9)
    boxes[0, 0, [1, 0]], boxes[0, 1, 2] = targets.boxes[:2], targets.boxes[2]
    logits = torch.zeros(1, 2, 4, 4)
    logits[..., 3] = 30
    for image, query, box in ((0, 1, 0), (0, 0, 1), (1, 2, 2)):
        logits[0, image, query, targets.labels[box]] = 60
    found = SetLoss(classes=3, group=2)(Outputs(logits, boxes), targets)
    assert found.total.item() == pytest.approx(0, abs=1e-5)
    logged = {name: value.item() for name, value in found.logged.items()}
    assert logged["class_error"] == logged["cardinality"] == logged["unmatched"] == 0
    assert logged["iou"] == pytest.approx(1)
    assert logged["own_group"] == pytest.approx(1 / 3)  # 1 // 2 is 0; 0 // 2 is not 1, 2 // 2 is not 0
    assert "own_group" not in SetLoss(classes=3)(Outputs(logits, boxes), targets).logged


def test_own_group_is_1_when_matched_within_groups():
    found = SetLoss(classes=3, group=3, match="group")(predictions(), truth([3, 0, 4, 1]))
    assert found.logged["own_group"].item() == 1


def test_boxes_beyond_the_queries_are_counted():
    found = SetLoss(classes=3)(predictions(queries=4), truth([3, 6, 4, 5]))
    assert found.logged["unmatched"].item() == 3


@pytest.mark.parametrize("group", [None, 3])
def test_predictions_that_are_no_numbers_make_every_term_nan_and_the_same_is_logged(group):
    outputs, targets, loss = predictions(features=5), truth(features=5), SetLoss(classes=3, group=group)
    usual = loss(outputs, targets)
    outputs.boxes[1, 2, 3] = float("nan")
    found = loss(outputs, targets)
    assert found.terms.keys() == usual.terms.keys()
    assert found.logged.keys() == usual.logged.keys()
    assert all(value.isnan() for value in (*found.terms.values(), *found.logged.values()))


def test_half_precision_is_computed_in_float32():
    outputs, targets = predictions(), truth()
    half = Outputs(*(part.bfloat16() for part in outputs[:2]))
    again = Outputs(*(part.float() for part in half[:2]))
    loss = SetLoss(classes=3)
    assert loss(half, targets).total == loss(again, targets).total
    assert loss(half, targets).total.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": torch.full((9,), 3)}, "label 3 is not one of 3 classes"),
        ({"features": None}, "the outputs have reconstructed features, and the targets none"),
    ],
)
def test_targets_that_do_not_fit_are_refused(change, text):
    outputs, targets = predictions(features=5), truth(features=5)
    with pytest.raises(ValueError, match=text):
        SetLoss(classes=3)(outputs, targets._replace(**change))


def test_a_loss_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="4 logits of a query do not fit 7 classes"):
        SetLoss(classes=7)(predictions(), truth())
    with pytest.raises(ValueError, match="needs the size of a group"):
        SetLoss(classes=1, match="group")
    with pytest.raises(ValueError, match="none is negative"):
        SetLoss(classes=1, giou_weight=-1)


def shared_gradients(cases):
    """For each case the mean over the processes of the loss and its gradient, as DDP gives it to the weights.

    A case is a list of the counts of each process's images.
    """
    import torch.distributed as distributed

    rank, found = distributed.get_rank(), []
    for counts in cases:
        scale = torch.ones((), requires_grad=True)
        whole, targets = predictions(), truth(counts[0] + counts[1])
        first = sum(map(sum, counts[:rank]))
        boxes = slice(first, first + sum(counts[rank]))
        mine = slice(2 * rank, 2 * rank + 2)
        outputs = Outputs(whole.logits[:, mine] * scale, whole.boxes[:, mine] * scale)
        loss = SetLoss(classes=3)(
            outputs, Targets(targets.labels[boxes], targets.boxes[boxes], counts[rank])
        ).total
        both = torch.stack([loss.detach(), torch.autograd.grad(loss, scale)[0]])
        distributed.all_reduce(both)
        found.append((both / 2).tolist())
    if rank == 0:  # the other process computes its sums with this one all the same
        outputs.boxes.data.fill_(math.nan)
    loss = SetLoss(classes=3)(outputs, Targets(targets.labels[boxes], targets.boxes[boxes], counts[rank]))
    nan = loss.total.isnan().item()
    for sigmoid in (False, True):  # one process has a batch of which nothing is left
        loss = SetLoss(classes=3 + sigmoid, sigmoid=sigmoid)
        if rank == 0:
            loss.join(torch.device("cpu"))
        else:
            loss(outputs, Targets(targets.labels[boxes], targets.boxes[boxes], counts[rank]))
        both = torch.ones(())
        distributed.all_reduce(both)
        assert both == 2
    return found, nan


@pytest.mark.slow
def test_two_processes_give_the_loss_and_gradient_of_one():
    cases = [[[3, 0], [5, 1]], [[1, 0], [0, 0]]]
    wanted = []
    for counts, boxes in zip(cases, (9, 2), strict=True):  # half a box a process counts as one: two in all
        scale = torch.ones((), requires_grad=True)
        whole, targets = predictions(), truth(counts[0] + counts[1])
        outputs = Outputs(whole.logits * scale, whole.boxes * scale)
        loss = SetLoss(classes=3)(outputs, targets, num_boxes=boxes).total
        wanted.append([loss.item(), torch.autograd.grad(loss, scale)[0].item()])
    results = two_processes(shared_gradients, cases)
    assert [nan for _, nan in results] == [True, False]
    for found, _ in results:
        for ours, one in zip(found, wanted, strict=True):
            assert ours == pytest.approx(one, rel=1e-5)
