import itertools
import math
import pickle

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.instance_segmentation import OVERLAPS, FoundInstance, InstanceAP


def span(first, last):
    return np.arange(first, last)


def scene_of(*objects, void=20):
    """Semantic and instance labels of a row of points: (class, number of points) each, and some without."""
    semantic = np.concatenate([np.full(size, kind) for kind, size in objects] + [np.full(void, -1)])
    instance = np.concatenate([np.full(size, i) for i, (_, size) in enumerate(objects)] + [np.full(void, -1)])
    return semantic, instance


def benchmark_ap(scenes, kind, overlap, smallest):
    """AP of one class with sets of points, told from the benchmark's description."""
    right, wrong, missed, looked_for = [], [], 0, 0
    for semantic, instance, found in scenes:
        objects = {}
        for point, number in enumerate(instance.tolist()):
            if number >= 0:
                objects.setdefault(number, set()).add(point)
        objects = [points for _, points in sorted(objects.items()) if semantic[min(points)] == kind]
        masks = [(set(one.points.tolist()), one.score) for one in found if one.label == kind]
        masks = [mask for mask in masks if len(mask[0]) >= smallest]
        void = {point for point, label in enumerate(semantic.tolist()) if label < 0}
        used = set()
        for points in objects:
            if len(points) < smallest:
                continue
            looked_for += 1
            scores, first = [], True
            for number, (mask, score) in enumerate(masks):
                if number not in used and len(mask & points) / len(mask | points) > overlap:
                    scores.append(score)
                    if first:
                        used.add(number)
                        first = False
            if scores:
                right.append(max(scores))
                # duplicates are judged pair by pair: of each pair the lower score is wrong
                best = scores[0]
                for score in scores[1:]:
                    wrong.append(min(best, score))
                    best = max(best, score)
            else:
                missed += 1
        for mask, score in masks:
            if not any(len(mask & points) / len(mask | points) > overlap for points in objects):
                small = [points for points in objects if len(points) < smallest]
                outside = len(mask & void) + sum(len(mask & points) for points in small)
                if outside / len(mask) <= overlap:
                    wrong.append(score)
    if not looked_for:
        return None
    curve = [(0.0, 1.0)]
    for threshold in sorted({*right, *wrong}, reverse=True):
        tp, fp = sum(s >= threshold for s in right), sum(s >= threshold for s in wrong)
        curve.append((tp / looked_for, tp / (tp + fp)))
    return sum((r2 - r1) * (p1 + p2) / 2 for (r1, p1), (r2, p2) in itertools.pairwise(curve))


@pytest.mark.parametrize("seed", range(6))
def test_ap_is_that_of_the_benchmarks_rules(seed):
    random = np.random.default_rng(seed)
    scenes = []
    for _ in range(3):
        sizes = random.integers(4, 30, 8)
        semantic, instance = scene_of(*((int(random.integers(0, 3)), int(size)) for size in sizes))
        found = []
        for _ in range(14):
            number = int(random.integers(0, 8))
            points = np.flatnonzero(instance == number)
            kept = points[random.random(len(points)) < random.uniform(0.4, 1)]
            extra = random.integers(0, len(instance), int(random.integers(0, 10)))
            points = np.unique(np.concatenate([kept, extra]))
            label = (
                int(semantic[instance == number][0]) if random.random() < 0.8 else int(random.integers(0, 3))
            )
            found.append(
                FoundInstance(points, label, float(random.integers(1, 9)) / 10)
            )  # scores are equal at times
        scenes.append((semantic, instance, found))
    counter = InstanceAP(3, smallest=8)
    for semantic, instance, found in scenes:
        counter.add(semantic, instance, found)
    parts = [InstanceAP(3, smallest=8) for _ in scenes]
    for part, scene in zip(parts, scenes, strict=True):
        part.add(*scene)
    scores = counter.scores()
    assert pickle.loads(pickle.dumps(parts[0] + parts[1] + parts[2])).scores().ap == scores.ap
    for kind in range(3):
        wanted = [benchmark_ap(scenes, kind, overlap, 8) for overlap in OVERLAPS]
        assert scores.class_ap25[kind] == pytest.approx(wanted[-1])
        assert scores.class_ap50[kind] == pytest.approx(wanted[0])
        assert scores.class_ap[kind] == pytest.approx(np.mean(wanted[:-1]))
    assert 0 < scores.ap < scores.ap50 < scores.ap25


def test_there_are_nine_overlaps_and_no_95():
    assert OVERLAPS[:-1] == pytest.approx(np.arange(0.5, 0.95, 0.05))
    assert (len(OVERLAPS), OVERLAPS[-1]) == (10, 0.25)


def scored(objects, *found, **options):
    counter = InstanceAP(3, **{"smallest": 10, **options})
    counter.add(*scene_of(*objects), [FoundInstance(points, label, score) for points, label, score in found])
    return counter.scores()


def test_exact_masks_score_1():
    scores = scored([(0, 20), (1, 30)], (span(0, 20), 0, 0.9), (span(20, 50), 1, 0.5))
    assert (scores.ap, scores.ap50, scores.ap25) == (1, 1, 1)
    assert np.isnan(scores.class_ap[2])


def test_a_mask_of_six_tenths_counts_up_to_its_overlap():
    scores = scored([(0, 20)], (span(0, 13), 0, 1.0))  # .65: right at .5, .55 and .6 of nine overlaps
    assert scores.ap == pytest.approx(3 / 9)
    assert scores.ap50 == 1


def test_overlap_must_exceed_the_threshold():
    assert scored([(0, 20)], (span(0, 10), 0, 1.0)).ap50 == 0


def test_a_surer_wrong_mask_before_a_right_one_gives_a_trapezoid():
    scores = scored([(0, 20), (1, 40)], (span(20, 60), 0, 0.9), (span(0, 20), 0, 0.8))
    # from (0, 1) to (0, 0) at .9, then to (1, 1/2)
    assert scores.class_ap50[0] == pytest.approx(0.25)


def test_masks_of_points_that_do_not_count_are_not_wrong():
    right = (span(0, 20), 0, 0.5)
    assert scored([(0, 20)], right, (span(24, 40), 0, 0.9)).ap50 == 1  # points without a class
    small = scored([(0, 20), (0, 9)], right, (span(20, 31), 0, 0.9))  # an object of 9 points is too small
    assert small.ap50 == 1
    wall = scored([(0, 20), (2, 30)], right, (span(20, 50), 0, 0.9), ignored=(2,))
    assert wall.ap50 == 1
    assert np.isnan(wall.class_ap[2])
    assert scored([(0, 20), (2, 30)], right, (span(20, 50), 0, 0.9)).class_ap50[0] < 1


def test_masks_that_are_too_small_are_left_out():
    assert scored([(0, 20)], (span(0, 20), 0, 0.5), (span(0, 9), 0, 0.9)).ap50 == 1


def test_masks_may_be_boolean():
    mask = np.zeros(40, np.bool_)
    mask[:20] = True
    assert scored([(0, 20)], (mask, 0, 0.5)).ap == 1


def test_missed_objects_lower_and_absent_ones_leave_the_score():
    assert scored([(0, 20), (0, 20)], (span(0, 20), 0, 0.5)).ap50 == pytest.approx(0.5)
    assert scored([(0, 20)]).ap50 == 0
    nothing = scored([(0, 5)], (span(0, 20), 1, 0.5))
    assert math.isnan(nothing.ap)


def test_what_does_not_fit_is_refused():
    semantic, instance = scene_of((0, 20))
    for found, error in (
        ((span(0, 5), 3, 0.5), r"office: mask 0 \(from 0\) has label 3"),
        ((span(0, 5), 0, math.nan), "score nan"),
        ((span(35, 45), 0, 0.5), r"names points 35..44 of 40 \(from 0\)"),
        ((np.array([1, 1]), 0, 0.5), "names a point twice"),
        ((np.ones(7, np.bool_), 0, 0.5), r"has shape \(7,\), but the scene has 40 points"),
    ):
        with pytest.raises(UserError, match=error):
            InstanceAP(3).add(semantic, instance, [FoundInstance(*found)], what="office")
    with pytest.raises(UserError, match="do not add up"):
        InstanceAP(3) + InstanceAP(3, ignored=(0,))
    with pytest.raises(UserError, match="40 points have a class and 39 an object"):
        InstanceAP(3).add(semantic, instance[1:], [])
