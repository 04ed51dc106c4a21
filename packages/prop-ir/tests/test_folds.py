"""Folds and draws: partitions by their properties, files by hand."""

import json

import pytest

from nonet.errors import UserError
from prop_ir.folds import Fold, draw, hold_out, make_folds, read_folds, shuffled, write_folds

IDS = [str(number) for number in range(1, 24)]


@pytest.mark.parametrize("count", [2, 5, 23])
def test_folds_are_a_partition_of_nearly_equal_parts(count):
    folds = make_folds(IDS, count, seed=1)
    assert sorted(query for fold in folds for query in fold) == sorted(IDS)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        assert sorted([*fold.test, *fold.train]) == sorted(IDS)
        assert fold.val is None


def test_a_query_s_fold_follows_from_ids_and_seed_alone():
    folds = [set(fold) for fold in make_folds(IDS, 5, seed=1)]
    assert [set(fold) for fold in make_folds(IDS[::-1], 5, seed=1)] == folds
    assert [set(fold) for fold in make_folds(IDS, 5, seed=2)] != folds


def test_a_draw_holds_the_smaller_draws_and_is_in_order():
    drawn = {count: draw(IDS, count, seed=3) for count in (5, 10, 20)}
    assert [len(some) for some in drawn.values()] == [5, 10, 20]
    assert set(drawn[5]) < set(drawn[10]) < set(drawn[20])
    assert drawn[10] == sorted(drawn[10], key=int)
    assert draw(IDS, 10, seed=4) != drawn[10]
    assert draw(IDS, None) == draw(IDS, 99) == IDS


def test_purposes_are_independent():
    assert shuffled(IDS, 0, "folds") != shuffled(IDS, 0, "held out")


@pytest.mark.parametrize(("count", "held"), [(0, 0), (1, 0), (4, 0), (5, 1), (10, 2), (23, 4)])
def test_a_fifth_is_held_out_rounded_down(count, held):
    train, val = hold_out(IDS[:count], 0.2, seed=0)
    assert len(val) == held
    assert sorted([*train, *val]) == sorted(IDS[:count])


def test_one_query_stays_in_training_and_none_may_be_held_out():
    assert len(hold_out(IDS[:2], 0.99)[0]) == 1
    assert hold_out(IDS, 0.0)[1] == []


def test_what_is_written_is_read(tmp_path):
    folds = [Fold(("1",), ("2", "3"), ("4",)), Fold(("2",), ("1", "3"))]
    write_folds(tmp_path / "folds.json", folds, seed=7)
    assert read_folds(tmp_path / "folds.json") == folds
    assert json.loads((tmp_path / "folds.json").read_text())["seed"] == 7


def test_lists_of_test_queries_and_other_names_are_read(tmp_path):
    path = tmp_path / "folds.json"
    path.write_text(json.dumps([["1", 2], ["3"]]))
    assert read_folds(path) == [Fold(("1", "2"), ("3",)), Fold(("3",), ("1", "2"))]
    path.write_text(json.dumps([{"training": [1], "vali": [2], "testing": [3]}, {"test": [1]}]))
    assert read_folds(path) == [Fold(("3",), ("1",), ("2",)), Fold(("1",), ("3",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[[1]]", "no list of at least two folds"),
        ('{"a": 1}', "no list of at least two folds"),
        ("[[1], [1]]", "query 1 is tested in two folds"),
        ("[[1], []]", "fold 2: names no test queries"),
        ("[[1], 2]", "fold 2: neither a list"),
        ('[[1], {"test": 2}]', "fold 2: test is not a list"),
        ('[[1], {"test": [2], "train": [2, 3]}]', "fold 2 trains on query 2 and tests it"),
    ],
)
def test_files_that_are_no_folds(tmp_path, text, message):
    path = tmp_path / "folds.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_folds(path)


def test_impossible_folds():
    with pytest.raises(UserError, match="at least 2"):
        make_folds(IDS, 1)
    with pytest.raises(UserError, match="3 queries are too few for 4 folds"):
        make_folds(IDS[:3], 4)
