import copy

import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas

DEV = "two/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned"


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def row_of(comparison, label):
    return next(row for row in comparison.rows if row["label"] == label)


def test_equal_measurements_are_compared(small_atlas):
    comparison = small_atlas.compare(["one-base", "one-large", "two"], ["vqa"])
    assert comparison.columns == ["ONE-base", "ONE-large", "Two"]
    dev = row_of(comparison, "vqa-v2 test-dev vqa-acc")
    assert [cell["value"] for cell in dev["cells"]] == [72.7, 73.82, 75.84]
    assert [cell["delta"] for cell in dev["cells"]] == [0, 1.12, 3.14]
    assert [cell["best"] for cell in dev["cells"]] == [False, False, True]
    assert (dev["delta"], [cell["mark"] for cell in dev["cells"]]) == (3.14, ["", "", ""])
    std = row_of(comparison, "vqa-v2 test-std vqa-acc")
    assert std["cells"][2] is None  # two is compared on test-dev
    assert std["delta"] is None  # the last has no number here
    assert [cell and cell["best"] for cell in std["cells"]] == [False, True, None]
    assert [cell and cell["delta"] for cell in std["cells"]] == [0, 1.11, None]
    assert comparison.footer[-1] == "difference: the best of Two less the best of ONE-base"


def test_the_difference_is_between_the_named_models_and_not_within_one(small):
    added = {"id": "two-small", "name": "Two-small"}
    small["checkpoints"].append({**record(small, "checkpoints", "two"), **added})
    small["results"].append({**record(small, "results", DEV), "checkpoint": "two-small", "value": 70.0})
    comparison = Atlas(small).compare(["ONE", "Two"], ["vqa"])
    assert comparison.ids == ["one-base", "one-large", "two", "two-small"]
    dev = row_of(comparison, "vqa-v2 test-dev vqa-acc")
    assert dev["delta"] == 2.02  # 75.84 - 73.82
    assert [cell["delta"] for cell in dev["cells"]] == [-1.12, 0, 2.02, -3.82]
    assert [cell["best"] for cell in dev["cells"]] == [False, False, True, False]
    assert comparison.footer[-1] == "difference: the best of Two less the best of ONE"
    turned = Atlas(small).compare(["Two", "ONE"], ["vqa"])
    assert row_of(turned, "vqa-v2 test-dev vqa-acc")["delta"] == -2.02
    record(small, "metrics", "vqa-acc")["higher_is_better"] = False
    lower = row_of(Atlas(small).compare(["ONE", "Two"], ["vqa"]), "vqa-v2 test-dev vqa-acc")
    assert lower["delta"] == -2.7  # 70.0 - 72.7
    assert [cell["best"] for cell in lower["cells"]] == [False, False, False, True]


def test_what_two_checkpoints_of_one_model_share_is_still_unlike_the_other_model_s(small):
    cider = record(small, "results", "one-base/captioning/coco/karpathy-test/cider/fine-tuned")
    small["results"].append({**cider, "checkpoint": "one-large", "value": 125.0})
    comparison = Atlas(small).compare(["ONE", "Two"], ["captioning"])
    entropy, scst = comparison.rows
    assert (entropy["label"], scst["label"]) == (
        "coco karpathy-test cider",
        "coco karpathy-test cider SCST",
    )
    assert [cell["mark"] for cell in entropy["cells"]] == ["", "", "≠SCST"]
    assert [cell["mark"] for cell in scst["cells"]] == ["≠SCST", "≠SCST", ""]
    assert not any(cell["best"] for row in comparison.rows for cell in row["cells"])


def test_cross_entropy_captions_of_blip_are_marked_beside_vinvl_s_scst():
    comparison = Atlas.load().compare(["BLIP", "VinVL"], ["captioning"])
    row = row_of(comparison, "coco karpathy-test cider-d SCST")
    marks = {id_: cell["mark"] for id_, cell in zip(comparison.ids, row["cells"], strict=True)}
    assert {marks[id_] for id_ in comparison.ids if id_.startswith("blip")} == {"≠SCST"}
    assert "≠" not in "".join(marks[id_] for id_ in comparison.ids if id_.startswith("vinvl"))
    assert (row["delta"], [cell["best"] for cell in row["cells"]]) == (None, [False] * 4)


def test_one_model_alone_has_no_best_and_no_difference(small_atlas):
    comparison = small_atlas.compare(["ONE", "three"], ["vqa"])
    for row in comparison.rows:
        assert row["delta"] is None
        assert not any(cell and (cell["best"] or cell["delta"] is not None) for cell in row["cells"])
    assert comparison.footer == ["three: no result here"]


def test_a_checkpoint_that_is_named_itself_is_compared_with_its_model(small_atlas):
    comparison = small_atlas.compare(["ONE", "one-large"], ["vqa"])
    assert comparison.ids == ["one-base", "one-large"]
    assert row_of(comparison, "vqa-v2 test-dev vqa-acc")["delta"] == 1.12
    assert comparison.footer == ["difference: the best of ONE-large less the best of ONE"]


def test_a_model_stands_for_its_checkpoints_with_results(small_atlas):
    assert small_atlas.compare(["ONE", "Two"], ["vqa"]).ids == ["one-base", "one-large", "two"]
    assert small_atlas.compare(["ONE", "Two"], ["captioning"]).ids == ["one-base", "two"]


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"split": "val"}, "≠split"),
        ({"setting": "zero-shot"}, "≠setting"),
        ({"unit": "fraction"}, "≠unit"),
        ({"protocol": {"scst": True}}, "≠SCST"),
        ({"protocol": {"resolution": 384}}, "≠resolution"),
        ({"protocol": {"text_premise": True}}, "≠text-premise"),
        ({"split": "val", "setting": "zero-shot"}, "≠split ≠setting"),
    ],
)
def test_unlike_measurements_are_marked_and_neither_compared_nor_best(small, change, mark):
    small["results"] = [
        result
        for result in small["results"]
        if result["split"] == "test-dev" and result["checkpoint"] != "one-large"
    ]
    record(small, "results", DEV).update(change)
    comparison = Atlas(small).compare(["one-base", "two"])
    assert len(comparison.rows) == 2
    for row, own in zip(comparison.rows, (0, 1), strict=True):
        assert row["cells"][own]["mark"] == ""
        assert row["cells"][1 - own]["mark"] == mark
        assert row["delta"] is None
        assert not any(cell["best"] or cell["delta"] is not None for cell in row["cells"])
    assert comparison.footer == ["≠: measured in another way, so not compared"]
    assert mark in comparison.to_table().rows[0]["Two"]


def test_a_flag_that_is_off_is_like_one_that_is_not_said(small):
    record(small, "results", DEV)["protocol"] = {"scst": False, "ensemble": False}
    row = row_of(Atlas(small).compare(["one-base", "two"], ["vqa"]), "vqa-v2 test-dev vqa-acc")
    assert row["delta"] == 3.14


def test_lower_is_best_where_the_metric_says_so(small):
    record(small, "metrics", "vqa-acc")["higher_is_better"] = False
    row = row_of(Atlas(small).compare(["one-base", "two"], ["vqa"]), "vqa-v2 test-dev vqa-acc")
    assert [cell["best"] for cell in row["cells"]] == [True, False]


def test_equal_values_are_both_best_and_disputed_ones_are_marked(small):
    record(small, "results", DEV).update(value=72.7, confidence="disputed")
    row = row_of(Atlas(small).compare(["one-base", "two"], ["vqa"]), "vqa-v2 test-dev vqa-acc")
    assert [(cell["best"], cell["mark"]) for cell in row["cells"]] == [(True, ""), (True, "disputed")]


def test_unverified_results_are_left_out_and_counted(small):
    record(small, "results", DEV)["confidence"] = "unverified"
    comparison = Atlas(small).compare(["one-base", "two"], ["vqa"])
    assert comparison.footer == ["two: no result here", "1 unverified result hidden"]
    assert all(row["cells"][1] is None for row in comparison.rows)


def test_comparing_does_not_depend_on_the_order_of_results(small):
    other = copy.deepcopy(small)
    other["results"].reverse()
    one, two = (Atlas(catalogue).compare(["ONE", "Two"]).to_table() for catalogue in (small, other))
    assert sorted(map(str, one.rows)) == sorted(map(str, two.rows))


def test_comparisons_that_cannot_be_made_are_refused(small_atlas):
    with pytest.raises(UserError, match="1 to compare: name two or more"):
        small_atlas.compare(["ONE"])
    with pytest.raises(UserError, match="no model or checkpoint 'ONEE'; the nearest: one"):
        small_atlas.compare(["ONEE", "two"])
    with pytest.raises(UserError, match="no task 'vqb'"):
        small_atlas.compare(["one", "two"], ["vqb"])
    assert (
        small_atlas.compare(["one", "two"], ["dialogue"]).footer[-1]
        == "no result of these models for dialogue"
    )
