import math
import pickle

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.driving_detection import DISTANCES, ERRORS, RANGES, DrivingBoxes, DrivingScore

NAMES = tuple(RANGES)


def boxes_of(*rows):
    """Boxes from dictionaries; what a row does not say is that of a car at rest."""
    base = {"center": (0, 0, 0), "size": (4, 2, 1.5), "yaw": 0.0, "velocity": (0, 0)}
    base |= {"label": 0, "score": 0.5, "attribute": 0}
    rows = [base | row for row in rows]
    columns = {name: np.array([row[name] for row in rows]) for name in base}
    if not rows:
        shapes = {"center": (0, 3), "size": (0, 3), "velocity": (0, 2)}
        columns = {name: np.zeros(shapes.get(name, 0)) for name in base}
    kinds = {"label": np.int64, "attribute": np.int64}
    return DrivingBoxes(**{name: column.astype(kinds.get(name, float)) for name, column in columns.items()})


def scored(truth, found, classes=("car",), **options):
    counter = DrivingScore(classes)
    counter.add(truth, found, **options)
    return counter.scores()


def by_the_devkit(scenes, kind, distance, name):
    """AP and five errors of a class, box by box, as the devkit's documentation tells it."""
    rows = []
    wanted = sum(int((truth.label == kind).sum()) for truth, _ in scenes)
    for number, (_, found) in enumerate(scenes):
        rows += [(float(found.score[i]), number, i) for i in np.flatnonzero(found.label == kind)]
    taken, hits, pairs = set(), [], []
    for score, number, i in sorted(rows, key=lambda row: -row[0]):
        truth, found = scenes[number]
        free = [j for j in np.flatnonzero(truth.label == kind) if (number, j) not in taken]
        apart = [math.dist(truth.center[j][:2], found.center[i][:2]) for j in free]
        hit = bool(apart) and min(apart) < distance
        hits.append(hit)
        if hit:
            j = free[int(np.argmin(apart))]
            taken.add((number, j))
            least = np.minimum(truth.size[j], found.size[i]).prod()
            turn = abs(truth.yaw[j] - found.yaw[i])
            period = math.pi if name == "barrier" else 2 * math.pi
            turn = min(turn % period, period - turn % period)
            errors = [
                min(apart),
                1 - least / (truth.size[j].prod() + found.size[i].prod() - least),
                turn,
                math.dist(truth.velocity[j], found.velocity[i]),
                float("nan") if truth.attribute[j] < 0 else float(truth.attribute[j] != found.attribute[i]),
            ]
            pairs.append((score, errors))
    if not pairs:
        return 0.0, [1.0] * 5
    total = np.cumsum(hits)
    recall, precision = total / wanted, total / np.arange(1, len(hits) + 1)
    levels = np.linspace(0, 1, 101)
    at = np.interp(levels, recall, precision, right=0)
    sure = np.interp(levels, recall, sorted((row[0] for row in rows), reverse=True), right=0)
    ap = np.mean([max(0.0, p - 0.1) for p in at[11:]]) / 0.9
    reached = np.flatnonzero(sure)[-1]
    found_errors = []
    for column in range(5):
        means, known = [], []
        for _, errors in pairs:
            if not math.isnan(errors[column]):
                known.append(errors[column])
            means.append(np.mean(known) if known else 0.0)
        if not known:
            means = [1.0] * len(pairs)
        scores = [score for score, _ in pairs]
        curve = [np.interp(value, scores[::-1], means[::-1]) for value in sure]
        found_errors.append(np.mean(curve[11 : reached + 1]) if reached >= 11 else 1.0)
    return ap, found_errors


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_devkits_rules(seed):
    random = np.random.default_rng(seed)
    scenes = []
    for _ in range(3):
        n = 30
        truth = DrivingBoxes(
            random.uniform(-14, 14, (n, 3)),
            random.uniform(0.5, 5, (n, 3)),
            random.uniform(-9, 9, n),
            random.normal(0, 2, (n, 2)),
            random.integers(0, 10, n) % 4 + 6,  # motorcycle, bicycle, cone, barrier
            np.zeros(n),
            random.integers(-1, 3, n),
        )
        m = 40
        near = random.integers(0, n, m)
        found = DrivingBoxes(
            truth.center[near] + random.normal(0, 1.2, (m, 3)),
            truth.size[near] * random.uniform(0.7, 1.3, (m, 3)),
            truth.yaw[near] + random.normal(0, 0.5, m),
            truth.velocity[near] + random.normal(0, 0.5, (m, 2)),
            np.where(random.random(m) < 0.9, truth.label[near], 7),
            random.permutation(m) / m + len(scenes) / 1000 + 0.001,
            random.integers(0, 3, m),
        )
        truth.velocity[:3] = np.nan
        scenes.append((truth, found))
    counter = DrivingScore()
    for scene in scenes:
        counter.add(*scene)
    first, rest = DrivingScore(), DrivingScore()
    first.add(*scenes[0])
    for scene in scenes[1:]:
        rest.add(*scene)
    scores = counter.scores()
    assert pickle.loads(pickle.dumps(first + rest)).scores().nds == scores.nds
    absent = {"traffic_cone": (2, 3, 4), "barrier": (3, 4)}
    for kind, name in enumerate(NAMES):
        for place, distance in enumerate(DISTANCES):
            ap, errors = by_the_devkit(scenes, kind, distance, name)
            assert scores.class_ap[kind, place] == pytest.approx(ap, abs=1e-12)
            if distance == 2:
                errors = [float("nan") if i in absent.get(name, ()) else e for i, e in enumerate(errors)]
                assert scores.class_errors[kind] == pytest.approx(errors, nan_ok=True)
    assert scores.mean_ap == pytest.approx(scores.class_ap.mean())
    means = [np.nanmean(scores.class_errors[:, i]) for i in range(5)]
    assert [scores.errors[name] for name in ERRORS] == pytest.approx(means)
    assert scores.nds == pytest.approx((5 * scores.mean_ap + sum(max(0, 1 - e) for e in means)) / 10)
    assert 0.05 < scores.mean_ap < 0.4


def test_exact_boxes_score_1():
    rows = [{"label": k, "center": (3 * k - 12, 2, 0), "velocity": (k, 1)} for k in range(10)]
    truth = boxes_of(*rows)
    scores = scored(truth, truth, NAMES)
    assert (scores.nds, scores.mean_ap) == pytest.approx((1, 1))
    assert list(scores.errors.values()) == pytest.approx([0] * 5)


def test_half_of_the_boxes_give_forty_of_ninety_recalls():
    truth = boxes_of({}, {"center": (10, 0, 0)})
    scores = scored(truth, boxes_of({}))
    assert scores.class_ap[0] == pytest.approx([40 / 90] * 4)


def test_errors_of_one_pair_by_hand():
    truth = boxes_of({"velocity": (1, 0), "attribute": 2})
    found = boxes_of(
        {
            "center": (0.3, 0.4, 9),
            "size": (2, 2, 1.5),
            "yaw": 3.5 * math.pi,
            "velocity": (1, 2),
            "attribute": 1,
        }
    )
    scores = scored(truth, found)
    assert scores.class_errors[0] == pytest.approx([0.5, 0.5, math.pi / 2, 2, 1])
    assert scores.class_ap[0] == pytest.approx([0, 1, 1, 1])  # half a metre is not below half a metre
    assert scores.nds == pytest.approx((5 * 0.75 + 0.5 + 0.5) / 10)


def test_a_barrier_looks_the_same_from_both_sides():
    truth = boxes_of({"label": 9, "yaw": 0.1})
    found = boxes_of({"label": 9, "yaw": 0.1 + math.pi})
    assert scored(truth, found, NAMES).class_errors[9, 2] == pytest.approx(0, abs=1e-9)
    car = scored(boxes_of({"yaw": 0.1}), boxes_of({"yaw": 0.1 + math.pi}))
    assert car.errors["mAOE"] == pytest.approx(math.pi)


def test_boxes_out_of_range_count_neither_way():
    truth, found = boxes_of({}, {"center": (51, 0, 0)}), boxes_of({}, {"center": (0, -60, 0), "score": 0.9})
    assert scored(truth, found).mean_ap == pytest.approx(1)
    assert scored(truth, found, ego=(2, 0)).mean_ap == pytest.approx(40 / 90 * 1)


def test_kittis_classes_have_the_ranges_of_their_likes():
    near = boxes_of({}, {"label": 1})
    far = boxes_of({}, {"label": 1}, {"center": (51, 0, 0)}, {"label": 1, "center": (0, 41, 0)})
    for truth, found in ((far, near), (near, far)):
        assert scored(truth, found, ("Car", "Cyclist")).mean_ap == pytest.approx(1)
    between = boxes_of({"center": (45, 0, 0)}, {"label": 1, "center": (45, 0, 0)})
    scores = scored(between, between, ("Car", "Cyclist"))
    assert scores.class_ap.mean(1) == pytest.approx([1, 0])


def test_a_class_without_true_boxes_scores_0_and_errors_of_1():
    scores = scored(boxes_of({}), boxes_of({}), ("car", "truck"))
    assert scores.class_ap.mean(1) == pytest.approx([1, 0])
    assert scores.class_errors[1] == pytest.approx([1] * 5)


def test_scenes_without_boxes_are_fine():
    counter = DrivingScore(("car",))
    counter.add(boxes_of(), boxes_of())
    counter.add(boxes_of({}), boxes_of())
    assert counter.scores().nds == 0
    counter.add(boxes_of(), boxes_of({}))
    assert counter.scores().mean_ap == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="do not add up"):
        DrivingScore(("car",)) + DrivingScore(("bus",))
    for truth, found, error in (
        (
            boxes_of({"label": 1}),
            boxes_of(),
            "lidar: true boxes: label 1 is out of range; there are 1 classes",
        ),
        (boxes_of(), boxes_of({"size": (1, 0, 1)}), "found boxes: box 0 has a size not above 0"),
        (boxes_of(), boxes_of({"velocity": (math.nan, 0)}), "velocity has a number that is not finite"),
        (boxes_of({"yaw": math.inf}), boxes_of(), "yaw has a number that is not finite"),
        (boxes_of({})._replace(score=np.zeros(2)), boxes_of(), r"score has shape \(2,\), not \(1,\)"),
    ):
        with pytest.raises(UserError, match=error):
            scored(truth, found, what="lidar")
