import math
import pickle

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.boxes_3d import iou_3d
from nonet.metrics.detection_3d import BoxAP

UNIT = [0, 0, 0, 1, 1, 1]


def at(x, size=1.0):
    return [x, 0, 0, size, 1, 1]


def ap_in_loops(scenes, kind, threshold):
    """VOC's matching and all-point AP of one class, box by box."""
    wanted = sum(label == kind for _, labels, *_ in scenes for label in labels)
    rows = [
        (score, number, row)
        for number, (_, _, boxes, kinds, scores) in enumerate(scenes)
        for row, (label, score) in enumerate(zip(kinds, scores, strict=True))
        if label == kind
    ]
    taken, hits = set(), []
    for _, number, row in sorted(rows, key=lambda r: -r[0]):
        truth, labels, boxes, *_ = scenes[number]
        overlaps = [
            (iou_3d([boxes[row]], [box])[0, 0], -i) for i, box in enumerate(truth) if labels[i] == kind
        ]
        best, place = max(overlaps, default=(0.0, 0))
        hit = best > threshold and (number, place) not in taken
        if hit:
            taken.add((number, place))
        hits.append(hit)
    total, area, curve = 0, 0.0, []
    for count, hit in enumerate(hits, 1):
        total += hit
        curve.append((total / wanted, total / count))
    before = 0.0
    for i, (recall, _) in enumerate(curve):
        area += (recall - before) * max(precision for _, precision in curve[i:])
        before = recall
    return area


@pytest.mark.parametrize("seed", range(4))
def test_ap_is_that_of_loops(seed):
    random = np.random.default_rng(seed)
    scenes = []
    for _ in range(4):
        truth = np.concatenate([random.uniform(-3, 3, (6, 3)), random.uniform(1, 3, (6, 3))], 1)
        boxes = np.concatenate(
            [truth + random.normal(0, 0.25, truth.shape), truth[:4] + random.normal(0, 0.1, (4, 6))]
        )
        boxes[:, 3:] = boxes[:, 3:].clip(0.2)
        labels = random.integers(0, 3, 6)
        kinds = np.concatenate([labels, labels[:4]])
        kinds[0] = (kinds[0] + 1) % 3
        scenes.append((truth, labels, boxes, kinds, random.permutation(100)[:10] / 100 + len(scenes) / 1000))
    counter = BoxAP(4)
    for scene in scenes:
        counter.add(*scene)
    first, rest = BoxAP(4), BoxAP(4)
    first.add(*scenes[0])
    for scene in scenes[1:]:
        rest.add(*scene)
    scores = counter.scores()
    assert np.array_equal(pickle.loads(pickle.dumps(first + rest)).scores().mean_ap, scores.mean_ap)
    for row, threshold in enumerate((0.25, 0.5)):
        wanted = [ap_in_loops(scenes, kind, threshold) for kind in range(3)]
        assert scores.class_ap[row, :3] == pytest.approx(wanted)
        assert scores.mean_ap[row] == pytest.approx(np.mean(wanted))
    assert 0.2 < scores.mean_ap[1] < scores.mean_ap[0] < 1
    assert np.isnan(scores.class_ap[:, 3]).all()


def test_one_right_one_wrong_one_missed():
    counter = BoxAP(1)
    counter.add([at(0), at(5)], [0, 0], [at(0.1), at(9)], [0, 0], [0.9, 0.8])
    scores = counter.scores()
    assert scores.mean_ap == pytest.approx([0.5, 0.5])
    assert scores.class_recall[:, 0] == pytest.approx([0.5, 0.5])


def test_a_second_box_at_the_same_object_is_wrong_and_the_surer_one_is_right():
    counter = BoxAP(1)
    counter.add([at(0), at(5)], [0, 0], [at(0.1), at(0), at(5)], [0, 0, 0], [0.5, 0.9, 0.1])
    assert counter.scores().mean_ap == pytest.approx([0.5 + 0.5 * 2 / 3] * 2)


def test_overlap_must_exceed_the_threshold():
    counter = BoxAP(1)
    counter.add([at(0, 2.0)], [0], [at(0.5, 1.0)], [0], [1.0])  # one lies within the other: exactly one half
    assert counter.scores().mean_ap == pytest.approx([1, 0])


def test_boxes_of_other_classes_and_scenes_do_not_match():
    counter = BoxAP(2)
    counter.add([UNIT], [0], [UNIT], [1], [1.0])
    counter.add([], [], [UNIT], [0], [1.0])
    scores = counter.scores()
    assert scores.class_ap[:, 0] == pytest.approx([0, 0])
    assert np.isnan(scores.class_ap[:, 1]).all()
    assert scores.mean_ap == pytest.approx([0, 0])


def test_nothing_to_find_has_no_score():
    counter = BoxAP(2)
    counter.add([], [], [UNIT], [0], [1.0])
    assert all(math.isnan(value) for value in counter.scores().mean_ap)
    assert np.isnan(BoxAP(2).scores().mean_ap).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match="do not add up"):
        BoxAP(2) + BoxAP(3)
    for given, error in (
        (([UNIT], [0, 1], [], [], []), "true boxes: 1 boxes need as many labels, not 2"),
        (([UNIT], [2], [], [], []), "label 2 is out of range; there are 2 classes"),
        (([], [], [UNIT], [0], []), "1 found boxes need as many finite scores"),
        (([], [], [UNIT], [0], [math.nan]), "finite scores"),
        (([], [], [[0, 0, 0, 1, 1, -1]], [0], [1]), "office: found boxes: box 0"),
    ):
        with pytest.raises(UserError, match=error):
            BoxAP(2).add(*given, what="office")
