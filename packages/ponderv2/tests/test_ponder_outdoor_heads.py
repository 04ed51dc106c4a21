"""Both heads that find boxes: targets, losses, pairing, decoding, and that they can learn a street."""

import itertools
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nonet.errors import RunFailed
from nonet.testing import normal, seeded
from ponderv2.box_codes import CODE, code_distance, decoded, true_boxes
from ponderv2.boxes3d import make_boxes
from ponderv2.center_head import LEAST_RADIUS, CenterHead, focal_loss, radius_of
from ponderv2.outdoor_options import OutdoorOptions
from ponderv2.query_head import QueryHead, assign

sys.path.insert(0, str(Path(__file__).parent / "support_ponderv2"))
from street_scores import score_boxes

OPTIONS = OutdoorOptions(low=(-10.0, -10.0, -3.0), high=(10.0, 10.0, 3.0), cells=(21, 21, 2))
CLASSES = ("car", "pedestrian", "barrier")


def street(seed=0, count=4):
    random = np.random.default_rng(seed)
    spots = random.permutation(16)[:count]
    center = np.stack([spots % 4 * 5 - 7.5, spots // 4 * 5 - 7.5, np.zeros(count)], 1)
    center += random.uniform(-0.9, 0.9, (count, 3))
    velocity = random.normal(0, 3, (count, 2))
    velocity[0] = np.nan
    return make_boxes(
        center, random.uniform([3, 1.5, 1.2], [5, 2.2, 2], (count, 3)), random.uniform(-3, 3, count),
        np.arange(count) % 3, velocity=velocity, points=np.full(count, 9),
    )  # fmt: skip


def truth_of(boxes, *, measured=True):
    return true_boxes(boxes, OPTIONS.low, OPTIONS.high, measured=measured, device="cpu")


def test_codes_lead_back_to_their_boxes():
    boxes = street()
    truth = truth_of(boxes)
    codes = torch.nan_to_num(truth.codes, nan=0.5)
    back = decoded(codes, truth.labels, torch.linspace(0.1, 0.9, 4))
    assert back.center == pytest.approx(boxes.center, abs=1e-5)
    assert back.size == pytest.approx(boxes.size, rel=1e-5)
    assert back.yaw == pytest.approx(boxes.yaw, abs=1e-5)
    assert back.velocity[1:] == pytest.approx(boxes.velocity[1:], abs=1e-5)
    assert back.score == pytest.approx([0.1, 0.1 + 0.8 / 3, 0.1 + 1.6 / 3, 0.9])


def test_boxes_outside_without_points_or_without_a_class_are_not_learned():
    boxes = make_boxes(
        [[0, 0, 0], [11, 0, 0], [1, 1, 0], [2, 2, 0]], np.ones((4, 3)), np.zeros(4), [0, 0, -1, 1],
        points=[3, 3, 3, 0],
    )  # fmt: skip
    assert truth_of(boxes).labels.tolist() == [0]
    assert truth_of(boxes, measured=False).labels.tolist() == [0, 1]


def test_distances_of_codes_leave_out_what_is_unknown():
    true = torch.zeros(2, CODE)
    true[0, 8] = math.nan
    predicted = torch.ones(2, CODE, requires_grad=True)
    distance = code_distance(predicted, true)
    assert distance.tolist() == pytest.approx([8.2, 8.4])
    distance.sum().backward()
    assert predicted.grad.isfinite().all()
    assert predicted.grad[0, 8] == 0


def test_a_box_that_is_shifted_by_the_radius_still_overlaps_by_a_tenth():
    edges = torch.tensor([[22.0, 22], [40, 15], [90, 30]])
    radii = radius_of(edges)
    assert radii.tolist()[0] == 12
    for (a, b), radius in zip(edges.tolist(), radii.tolist(), strict=True):
        for shift, enough in ((radius, True), (radius + 1, False)):
            shared = (a - shift) * (b - shift)
            assert (shared / (2 * a * b - shared) >= 0.1) == enough
    assert radius_of(torch.tensor([[0.5, 0.5]])).tolist() == [LEAST_RADIUS]


def test_heat_is_one_at_centres_and_a_bell_around_them():
    head = CenterHead(4, 3, OPTIONS, width=16)
    boxes = make_boxes([[2.3, -4.4, 0], [3.0, -4.0, 0]], [[1, 1, 1], [1, 1, 1]], [0, 0], [1, 1])
    heat = head.heat_of(truth_of(boxes), torch.zeros(1, 3, 21, 21))
    assert heat[1, 6, 12] == 1  # positions are a metre apart, the first at -10
    assert heat[1, 6, 13] == 1
    sigma = (2 * LEAST_RADIUS + 1) / 6
    assert heat[1, 6, 11] == pytest.approx(math.exp(-1 / (2 * sigma**2)))
    assert heat[1, 7, 12] == pytest.approx(math.exp(-1 / (2 * sigma**2)))
    assert heat[1, 6, 9] == 0  # beyond the radius
    assert not heat[0].any()
    assert not heat[2].any()


def test_the_focal_loss_of_centres_by_hand():
    logits, heat = torch.tensor([0.0, math.log(3), -math.log(3)]), torch.tensor([1.0, 0.5, 0.0])
    expected = 0.25 * math.log(2) + 0.5**4 * 0.75**2 * math.log(4) + 0.25**2 * -math.log(0.75)
    assert float(focal_loss(logits, heat)) == pytest.approx(expected, rel=1e-5)


def perfect(head, truth):
    """Outputs that say exactly the truth."""
    logits, codes = torch.full((1, 3, 21, 21), -9.0), torch.zeros(1, CODE, 21, 21)
    cells, _ = head._positions(truth)
    for (u, v), label, code in zip(cells.tolist(), truth.labels.tolist(), truth.codes, strict=True):
        logits[0, label, v, u] = 9.0
        codes[0, :, v, u] = torch.nan_to_num(code, nan=7.0)
    return logits, codes


def test_the_truth_has_hardly_a_loss_and_is_found_again():
    head, boxes = CenterHead(4, 3, OPTIONS, width=16), street()
    truth = truth_of(boxes)
    outputs = perfect(head, truth)
    terms = head.losses(outputs, [truth])
    assert terms["box"] == pytest.approx(0, abs=1e-5)
    assert terms["heat"] < 1e-3
    (found,) = head.detect(outputs)
    assert len(found) == len(boxes)
    scores = score_boxes([boxes], [found], CLASSES)
    assert all(scores[f"ap_{name}"] == pytest.approx(1) for name in CLASSES)
    assert scores["mATE"] == pytest.approx(0, abs=1e-4)
    assert scores["mAOE"] == pytest.approx(0, abs=1e-4)


def test_of_neighbours_the_highest_is_detected_and_the_best_comes_first():
    head = CenterHead(4, 3, OPTIONS, width=16)
    logits = torch.full((1, 3, 21, 21), -9.0)
    logits[0, 0, 5, 5], logits[0, 0, 5, 6], logits[0, 0, 9, 9], logits[0, 1, 5, 6] = 1.0, 2.0, 3.0, 0.5
    (found,) = head.detect((logits, torch.zeros(1, CODE, 21, 21)))
    assert found.label.tolist() == [0, 0, 1]
    assert found.score == pytest.approx(torch.tensor([3.0, 2.0, 0.5]).sigmoid().numpy())


def test_an_untrained_head_thinks_little_of_every_position():
    torch.manual_seed(0)
    head = CenterHead(4, 3, OPTIONS, width=16).eval()
    logits, codes = head(torch.zeros(1, 4, 2, 21, 21))
    assert float(logits.detach().sigmoid().mean()) == pytest.approx(0.1, abs=0.02)
    places = (codes[0, :2] - head.box(head.trunk(torch.zeros(1, 8, 21, 21)))[0, :2]).detach()
    assert places[:, 0, 0].tolist() == pytest.approx([-10, -10], abs=1e-4)
    assert places[:, 0, 20].tolist() == pytest.approx([10, -10], abs=1e-4)


def test_queries_are_paired_at_the_least_total_cost():
    truth = truth_of(street(3, count=3))
    logits, codes = normal(6, 3, seed=1), normal(6, CODE, seed=2) * 4
    queries, of_true = assign(logits, codes, truth)

    def cost(chosen):
        total = 0.0
        for row, query in enumerate(chosen):
            chance = float(logits[query, truth.labels[row]].sigmoid())
            yes = 0.25 * (1 - chance) ** 2 * -math.log(chance)
            no = 0.75 * chance**2 * -math.log(1 - chance)
            total += 2 * (yes - no) + 0.25 * float((codes[query, :8] - truth.codes[row, :8]).abs().sum())
        return total

    ours = cost([int(queries[of_true == row]) for row in range(3)])
    assert ours == pytest.approx(min(map(cost, itertools.permutations(range(6), 3))), rel=1e-5)


def test_more_boxes_than_queries_leave_some_out_and_what_is_not_finite_stops():
    truth = truth_of(street(0, count=4))
    queries, of_true = assign(normal(2, 3), normal(2, CODE), truth)
    assert sorted(queries.tolist()) == [0, 1]
    assert len(set(of_true.tolist())) == 2
    with pytest.raises(RunFailed, match="not finite"):
        assign(normal(2, 3), torch.full((2, CODE), math.nan), truth)


@pytest.mark.parametrize("kind", ["centre", "queries"])
def test_a_street_without_boxes_teaches_that_there_are_none(kind):
    torch.manual_seed(0)
    head = make_head(kind)
    terms = head.losses(head(normal(1, 4, 2, 21, 21)), [truth_of(street()[:0])])
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert total > 0
    assert all(value == 0 for name, value in terms.items() if name.startswith("box"))


def make_head(kind):
    if kind == "centre":
        return CenterHead(4, 3, OPTIONS, width=16)
    return QueryHead(4, 3, OPTIONS, queries=12, layers=2, width=16, heads=2)


def test_queries_start_in_the_range_and_every_layer_is_judged():
    torch.manual_seed(0)
    head = make_head("queries")
    outputs = head(normal(2, 4, 2, 21, 21))
    assert len(outputs.logits) == len(outputs.codes) == 2
    assert outputs.logits[0].shape == (2, 12, 3)
    for codes in outputs.codes:
        assert (codes[..., :3] >= head.low).all()
        assert (codes[..., :3] <= head.high).all()
    terms = head.losses(outputs, [truth_of(street(0)), truth_of(street(1))])
    assert set(terms) == {"class", "box", "class_0", "box_0"}
    assert len({tuple(row) for row in outputs.codes[0][0, :, :3].tolist()}) == 12


def test_most_of_the_papers_queries_start_well_inside_the_range():
    """A logit of 256 numbers N(0, 1) with Xavier's weights is spread by sqrt(256 * 2 / 259) = 1.4, hence
    P(|logit| < log 19 = 2.94) = 96 %; a place at a border has no slope to leave it."""
    torch.manual_seed(0)
    head = QueryHead(4, 3, OPTIONS, queries=900, layers=1)
    places = head.place(head.position.weight).sigmoid().detach()
    assert places.shape == (900, 3)
    assert ((places > 0.05) & (places < 0.95)).float().mean() > 0.93
    assert places.std(0).min() > 0.2  # and they do not crowd in the middle


@pytest.mark.parametrize(("kind", "steps", "rate"), [("centre", 60, 0.02), ("queries", 70, 0.02)])
def test_a_head_can_learn_two_streets_by_heart(kind, steps, rate):
    """The volumes are noise, so that the head has to tell them apart; no box is in both."""
    torch.manual_seed(0)
    streets = [street(0, 3), street(1, 3)]
    truth = [truth_of(boxes) for boxes in streets]
    volume = normal(2, 4, 2, 21, 21)
    head = make_head(kind)
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    first = None
    for _ in range(steps):
        terms = head.losses(head(volume), truth)
        loss = torch.stack(list(terms.values())).sum()
        first = float(loss.detach()) if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first
    scores = score_boxes(streets, head.detect(head(volume)), CLASSES)
    assert scores["map"] > 0.4
    assert scores["mATE"] < 1.5


def test_scores_of_frames_do_not_mix():
    one, two = street(0), street(1)
    found = [replace(boxes, velocity=np.nan_to_num(boxes.velocity)) for boxes in (one, two)]
    right = score_boxes([one, two], found, CLASSES)
    assert right["map"] == pytest.approx(1)
    assert score_boxes([one, two], found[::-1], CLASSES)["map"] < 0.6
    assert right["mAAE"] == 1  # attributes are not predicted
    with pytest.raises(ValueError, match="zip"):
        score_boxes([one], [], CLASSES)
    unmet = make_boxes([[0, 0, 0]], [[1, 1, 1]], [0], [0], points=[0], velocity=[[0, 0]])
    assert score_boxes([unmet], [unmet], CLASSES)["map"] == 0
    assert score_boxes([unmet], [unmet], CLASSES, measured=False)["map"] == pytest.approx(1 / 3)


def test_one_seed_gives_the_same_head_twice():
    torch.manual_seed(4)
    first = make_head("queries")(normal(1, 4, 2, 21, 21)).codes[-1]
    torch.manual_seed(4)
    assert torch.equal(first, make_head("queries")(normal(1, 4, 2, 21, 21)).codes[-1])
    assert torch.rand(1, generator=seeded()) < 1
