"""Judges: what several processes or folds count adds up to what one counts, and other rules do not."""

import pickle

import numpy as np
import pytest

from nonet.errors import UserError
from nonet.metrics.instance_segmentation import FoundInstance
from ponderv2.task_scores import POINTS, VOTES, BoxJudge, InstanceJudge, SemanticJudge, percent

CLASSES = {"scannet": ("wall", "chair", "table"), "s3dis": ("floor", "board")}
STUFF = {"scannet": (0,), "s3dis": (0,)}


def semantic(judge, random):
    for dataset, names in CLASSES.items():
        judge.add(dataset, random.integers(0, len(names), 400), random.integers(-1, len(names), 400), "room")


def instance(judge, random):
    for dataset, names in CLASSES.items():
        objects = np.repeat(np.arange(4), 150)
        found = [
            FoundInstance(np.flatnonzero(objects == n)[random.integers(0, 60) :], 1, random.random())
            for n in range(4)
        ]
        judge.add(dataset, np.where(objects < 2, 1, len(names) - 1), objects, found)


def boxes(judge, random):
    for dataset in CLASSES:
        true = np.column_stack([random.uniform(0, 9, (5, 3)), random.uniform(1, 2, (5, 3))])
        found = true + random.normal(0, 0.3, true.shape)
        judge.add(dataset, true, np.ones(5, int), np.abs(found), np.ones(5, int), random.random(5))


def made(kind):
    if kind is semantic:
        return SemanticJudge(CLASSES)
    return InstanceJudge(CLASSES, STUFF) if kind is instance else BoxJudge(CLASSES, STUFF)


@pytest.mark.parametrize("kind", [semantic, instance, boxes])
def test_what_two_processes_count_is_what_one_counts(kind):
    together, random = made(kind), np.random.default_rng(0)
    kind(together, random)
    kind(together, random)
    parts, random = [], np.random.default_rng(0)
    for _ in range(2):
        part = made(kind)
        kind(part, random)
        parts.append(pickle.loads(pickle.dumps(part)))  # as they travel between processes
    total = parts[0] + parts[1]
    assert total.numbers() == together.numbers()
    assert total.record() == together.record()
    assert total.numbers() != parts[0].numbers()


def test_several_data_sets_have_their_own_numbers_and_their_mean():
    judge = made(semantic)
    semantic(judge, np.random.default_rng(1))
    numbers = judge.numbers()
    assert set(numbers) == {"miou", "macc", "accuracy"} | {
        f"{dataset}/{name}" for dataset in CLASSES for name in ("miou", "macc", "accuracy")
    }
    assert numbers["miou"] == pytest.approx((numbers["scannet/miou"] + numbers["s3dis/miou"]) / 2)
    one = SemanticJudge({"s3dis": CLASSES["s3dis"]})
    one.add("s3dis", np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert one.numbers() == pytest.approx({"miou": 0.5, "macc": 0.75, "accuracy": 2 / 3})


def test_a_record_reads_back_and_what_is_none_is_refused():
    judge = made(semantic)
    semantic(judge, np.random.default_rng(2))
    again = SemanticJudge.of_record(judge.record(), "file")
    assert again.numbers() == judge.numbers()
    record = judge.record()
    record["confusion"]["s3dis"] = [[1]]
    with pytest.raises(UserError, match="file: not the scores of a semantic segmentation"):
        SemanticJudge.of_record(record, "file")


@pytest.mark.parametrize("kind", [semantic, instance, boxes])
def test_other_classes_or_another_rule_do_not_add_up(kind):
    first = made(kind)
    other = made(kind)
    other.rule = VOTES if first.rule != VOTES else POINTS
    with pytest.raises(UserError, match="another rule"):
        first + other
    other = made(kind)
    other.classes = {"scannet": CLASSES["scannet"]}
    with pytest.raises(UserError, match="other classes"):
        first + other


def test_stuff_has_no_row_and_what_is_no_number_is_shown_as_such():
    judge = made(boxes)
    assert [row["class"] for row in judge.rows("scannet")] == ["chair", "table"]
    assert judge.rows("s3dis") == [
        {"class": "board", "boxes": 0, "AP25": None, "AP50": None, "recall25": None, "recall50": None}
    ]
    assert "n/a" in judge.text()
    assert percent(float("nan")) is None
    assert percent(0.123456789) == 12.3457
