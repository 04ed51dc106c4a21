from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from nonet.data.labelled_boxes import BoxRows
from nonet.errors import UserError
from nonet.metrics.detection import BACKENDS, NAMES, coco_scores, percent
from nonet.metrics.detection_voc import voc_scores
from nonet.testing import needs


@dataclass
class Found:
    image_id: int
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def image(number, *boxes):
    """An image of 200 x 200 with boxes (xyxy, label, crowd, difficult)."""
    rows = BoxRows()
    for box, label, crowd, difficult in boxes:
        rows.add(box, label, "here", crowd=crowd, difficult=difficult)
    return rows.image(Path(f"{number}.jpg"), 200, 200, number, [], mend=False)


def random_set(seed, images=12, classes=3):
    """True boxes with crowds, empty images and a class that never comes; detections near them, with ties."""
    random = np.random.default_rng(seed)
    truth, found = [], []
    for number in range(1, images + 1):
        boxes = []
        for _ in range(random.integers(0, 7)):
            corner, side = random.uniform(0, 100, 2), random.choice([12, 30, 99], 2) * random.uniform(0.8, 1)
            boxes.append(
                ((*corner, *(corner + side)), int(random.integers(classes - 1)), random.random() < 0.2, False)
            )
        truth.append(image(number, *boxes))
        near = [box[0] for box in boxes for _ in range(3)] + [(5, 5, 60, 60)] * int(random.integers(3))
        moved = np.array(near).reshape(-1, 4) + random.normal(0, 4, (len(near), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        scores = random.integers(1, 6, len(near)) / 5
        found.append(Found(number, moved, scores, random.integers(0, classes, len(near))))
    found[0] = Found(1)
    return truth, found[:-1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(4))
def test_every_backend_gives_what_pycocotools_summarises(backend, seed, capsys):
    pytest.importorskip(BACKENDS[backend])
    truth, found = random_set(seed)
    peer = peer_numbers(truth, found, 3)
    scores = coco_scores(truth, found, 3, backend=backend)
    assert list(scores.values) == list(NAMES)
    got = np.nan_to_num(np.array(list(scores.values.values())), nan=-1)
    np.testing.assert_allclose(got, peer, atol=1e-12)
    assert np.isnan(scores.class_ap[2])  # the class that never comes
    assert np.nanmean(scores.class_ap) == pytest.approx(scores.values["AP"])
    assert np.nanmean(scores.class_ap50) == pytest.approx(scores.values["AP50"])
    assert capsys.readouterr().out.count("Average") == 12  # those of the peer alone


def peer_numbers(truth, found, classes):
    """pycocotools from files' contents to its own summary."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    gold, boxes, number = coco.COCO(), [], 0
    for one in truth:
        for row in range(len(one.labels)):
            number += 1
            left, top, right, bottom = one.boxes[row]
            boxes.append({
                "id": number, "image_id": one.id, "area": one.areas[row],
                "category_id": int(one.labels[row]) + 1,
                "bbox": [left, top, right - left, bottom - top], "iscrowd": int(one.crowd[row]),
            })  # fmt: skip
    gold.dataset = {
        "info": {}, "images": [{"id": one.id} for one in truth], "annotations": boxes,
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
    }  # fmt: skip
    gold.createIndex()
    results = [
        {"image_id": one.image_id, "category_id": int(label) + 1, "score": float(score),
         "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
        for one in found for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True)
    ]  # fmt: skip
    scorer = evaluation.COCOeval(gold, gold.loadRes(results), "bbox")
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return scorer.stats


def test_perfect_detections_score_one_and_what_is_absent_is_not_a_number():
    truth = [image(1, ((10, 10, 40, 40), 0, False, False)), image(2, ((0, 0, 50, 50), 1, False, False))]
    found = [Found(one.id, one.boxes, np.ones(1), one.labels) for one in truth]
    scores = coco_scores(truth, found, 3)
    assert [scores.values[name] for name in ("AP", "AP50", "AR1")] == pytest.approx([1, 1, 1], abs=1e-12)
    assert np.isnan(scores.values["APl"])
    assert percent(scores.values["APl"]) == "n/a"
    assert percent(0.43149) == "43.1"
    nothing = coco_scores(truth, [], 3)
    assert nothing.values["AP"] == 0
    assert np.isnan(coco_scores([image(1)], [], 3).values["AP"])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([Found(7)], "image 7: there is no image"),
        ([Found(1), Found(1)], "image 1 come twice"),
        (
            [Found(1, np.ones((1, 4)), np.ones(1), np.array([2]))],
            "label 2 is out of range; there are 2 classes",
        ),
        ([Found(1, np.full((1, 4), np.nan), np.ones(1), np.array([0]))], "not finite"),
    ],
)
@pytest.mark.parametrize("score", [coco_scores, voc_scores])
def test_detections_that_do_not_fit_are_refused(score, found, said):
    with pytest.raises(UserError, match=said):
        score([image(1)], found, 2)


def test_a_backend_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="there are hotcoco, faster-coco-eval, pycocotools"):
        coco_scores([image(1)], [], 1, backend="other")


def test_voc_precision_is_the_hand_computed_one():
    # by falling score: right, found again (wrong), difficult (ignored), right, elsewhere (wrong); 3 wanted
    truth = [
        image(1, ((0, 0, 10, 10), 0, False, False), ((50, 50, 60, 60), 0, False, True)),
        image(2, ((0, 0, 10, 10), 0, False, False), ((100, 100, 110, 110), 0, False, False)),
    ]
    found = [
        Found(
            1,
            np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]]),
            np.array([0.9, 0.8, 0.7]),
            np.zeros(3, int),
        ),
        Found(2, np.array([[0, 0, 10, 5], [150, 150, 160, 160]]), np.array([0.6, 0.5]), np.zeros(2, int)),
    ]
    scores = voc_scores(truth, found, 2)
    # recalls 1/3, 1/3, 2/3, 2/3 with precisions 1, 1/2, 2/3, 1/2
    assert scores.area[0] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert scores.eleven[0] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert np.isnan(scores.area[1])
    assert scores.means() == (pytest.approx(scores.eleven[0]), pytest.approx(scores.area[0]))


def test_voc_overlap_of_exactly_one_half_is_right_and_a_little_less_is_wrong():
    truth = [image(1, ((0, 0, 10, 10), 0, False, False))]
    for bottom, expected in ((5, 1), (4.99, 0)):
        found = [Found(1, np.array([[0, 0, 10, bottom]]), np.ones(1), np.zeros(1, int))]
        assert voc_scores(truth, found, 1).area[0] == expected


@pytest.mark.parametrize("seed", range(3))
def test_voc_precision_without_crowds_is_close_to_that_of_coco_at_one_half(seed):
    """COCO samples 101 recall levels and lets a detection choose among free boxes: close, not equal."""
    truth, found = random_set(seed, images=30)
    truth = [one.keep(~one.crowd) for one in truth]
    voc, coco = voc_scores(truth, found, 3), coco_scores(truth, found, 3)
    np.testing.assert_allclose(voc.area[:2], coco.class_ap50[:2], atol=0.04)


@needs("faster-coco-eval")
@needs("pycocotools")
def test_all_backends_are_installed_where_they_are_compared():
    assert all(coco_scores([image(1)], [], 1, backend=name) for name in BACKENDS)
