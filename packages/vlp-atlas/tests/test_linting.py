"""Every rule of the linter on the small catalogue, which is clean, after one change that makes it wrong."""

import copy

import pytest

from vlp_atlas.linting import RULES, STRICT, lint, lint_files
from vlp_atlas.linting.papers import _author

DEV = "one-base/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned"
STD = "one-base/vqa/vqa-v2/test-std/vqa-acc/fine-tuned"
LARGE = "one-large/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned"
CIDER = "one-base/captioning/coco/karpathy-test/cider/fine-tuned"
SCST = "two/captioning/coco/karpathy-test/cider/fine-tuned/scst=true"
TWO = "two/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned"


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def changed(catalogue, kind, id_, **fields):
    """A copy of the catalogue with some fields of a record replaced."""
    catalogue = copy.deepcopy(catalogue)
    record(catalogue, kind, id_).update(fields)
    return catalogue


def fact(value, source="2020-one#Table 1", confidence="verified", **more):
    return {"value": value, "source": [source], "confidence": confidence, **more}


def with_result(catalogue, like, **fields):
    """A copy of the catalogue with one more result, like another one."""
    catalogue = copy.deepcopy(catalogue)
    result = {**copy.deepcopy(record(catalogue, "results", like)), **fields}
    result["id"] = f"{like}/{len(catalogue['results'])}"
    catalogue["results"].append(result)
    return catalogue


def found(catalogue, strict=False):
    return [(defect.rule, defect.message) for defect in lint(catalogue, strict=strict)]


def the_one(catalogue, rule, *parts, strict=False):
    """Assert that there is this defect and no other."""
    defects = found(catalogue, strict)
    assert len(defects) == 1, defects
    assert defects[0][0] == rule
    for part in parts:
        assert part in defects[0][1]


def test_there_are_seventeen_rules_and_the_small_catalogue_keeps_them(small):
    assert list(RULES) == [f"L{number}" for number in range(1, 18)]
    assert set(STRICT) <= set(RULES)
    assert found(small) == []
    assert found(small, strict=True) == []


def test_l1_a_number_needs_a_place_in_one_of_its_sources_unless_from_memory(small):
    the_one(changed(small, "results", DEV, source=["2020-one"]), "L1", "without a locator")
    bare = fact(86, source="2020-one", convention="total")
    the_one(changed(small, "checkpoints", "one-base", params=bare), "L1", "one-base: params: a number")
    data = fact([{"dataset": "coco", "pairs": 5}], source="2020-one")
    the_one(changed(small, "checkpoints", "one-base", pretrain_data=data), "L1", "pretrain_data")
    assert found(changed(small, "results", DEV, source=["2020-one", "2022-three#Table 7"])) == []
    assert found(changed(small, "results", DEV, source=["memory"], confidence="unverified")) == []
    assert found(changed(small, "papers", "2020-one", year=fact(2020, source="2020-one"))) == []


@pytest.mark.parametrize(
    ("value", "unit", "metric_unit", "message"),
    [
        (0.727, "percent", "percent", "0.727 percent looks like a fraction"),
        (72.7, "fraction", "fraction", "72.7 as a fraction looks like percent"),
        (72.7, "fraction", "percent", "the unit is fraction, and vqa-acc is written in percent"),
        (101, "percent", "percent", "101 is outside the range of vqa-acc, 0 to 100"),
        (-3, "percent", "percent", "outside the range"),
    ],
)
def test_l2_a_value_fits_its_unit_and_range(small, value, unit, metric_unit, message):
    small["results"] = [result for result in small["results"] if result["id"] in (DEV, CIDER)]
    catalogue = changed(small, "results", DEV, value=value, unit=unit)
    record(catalogue, "metrics", "vqa-acc")["unit"] = metric_unit
    the_one(catalogue, "L2", message)
    assert found(changed(small, "results", DEV, value=0)) == []


def test_l3_one_checkpoint_has_the_same_values_on_two_data_sets(small):
    catalogue = with_result(small, DEV, dataset="coco")
    assert found(catalogue) == []  # one value alone may be chance
    catalogue = with_result(catalogue, STD, dataset="coco")
    the_one(catalogue, "L3", "all 2 values of one-base on vqa-v2 are those on coco")
    record(catalogue, "results", STD)["value"] += 0.01
    assert found(catalogue) == []


def test_l4_a_chart_mixes_splits_only_if_each_model_has_one(small):
    record(small, "papers", "2021-two")["tasks"] = fact(["vqa", "captioning"])
    for id_ in (DEV, LARGE, TWO):
        record(small, "results", id_)["source"] = ["figure#the chart"]
    small = with_result(small, STD, checkpoint="two", source=["figure#the chart"])
    assert found(small) == []  # two has both splits
    small["results"] = [result for result in small["results"] if result["id"] != TWO]
    the_one(small, "L4", "figure#the chart mixes splits in one series: test-dev, test-std")
    moved = copy.deepcopy(small)
    for result in moved["results"]:
        result["source"] = [ref.replace("figure#", "2022-three#") for ref in result["source"]]
    assert "L4" not in {rule for rule, _ in found(moved)}  # a paper's table is no series


def test_l4_strict_finds_the_split_that_a_chart_took_its_value_from(small):
    bar = {"source": ["figure#bar 1"], "confidence": "digitised", "error": "1 %", "split": "val"}
    catalogue = with_result(small, DEV, value=72.91, **bar)
    assert found(catalogue) == []
    the_one(catalogue, "L4", "72.91 on val is the value on test-std", strict=True)


def test_l5_a_chart_has_a_result_that_the_models_paper_does_not_have(small):
    small["models"] = [model for model in small["models"] if model["id"] != "three"]
    bar = {"source": ["figure#bar 1"], "task": "dialogue", "reported_by": None, "value": 74.5}
    the_one(with_result(small, DEV, **bar), "L5", "2020-one does not evaluate dialogue, but captioning, vqa")
    # without the paper's `tasks`, those of its own results count
    the_one(with_result(small, TWO, **bar), "L5", "2021-two does not evaluate dialogue")
    for change in ({"source": ["2020-one#Table 9"]}, {"reported_by": "2022-three"}):
        assert found(with_result(small, DEV, **{**bar, **change})) == []
    retold = {**bar, "source": ["2022-three#Table 7"]}
    the_one(with_result(small, DEV, **retold), "L5", "does not evaluate dialogue")
    assert found(with_result(small, TWO, **retold)) == []  # a later paper may have run it


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"published": fact("2018-05")}, "published 2018-05, before it was first public (2019-09-25)"),
        ({"year": fact(2018)}, "the year 2018 is before it was public (2019-09-25)"),
        ({"venue_status": fact("preprint")}, "a preprint, though it was published 2020-08"),
        ({"first_public": fact("2019-08-30")}, "before its number on arXiv was given out (1909.11740)"),
    ],
)
def test_l6_dates_of_a_paper_fit_each_other(small, fields, message):
    the_one(changed(small, "papers", "2020-one", **fields), "L6", message)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("ECCV20", None),
        ("arXiv19", "listed as arXiv19, though it was published 2020-08 (ECCV)"),
        ("ICLR19", "listed as ICLR19, though it was published 2020-08"),
    ],
)
def test_l6_strict_compares_the_venue_as_listed(small, listed, message):
    catalogue = changed(small, "models", "one", venue_listed=listed)
    assert found(catalogue) == []
    if message is None:
        assert found(catalogue, strict=True) == []
    else:
        the_one(catalogue, "L6", message, strict=True)


def code(url, **more):
    return fact([{"url": url, **more}])


def test_l7_code_of_somebody_else_is_marked_as_such(small):
    other = "https://github.com/stranger/two"
    the_one(changed(small, "papers", "2021-two", code=code(other)), "L7", "stranger is neither an author nor")
    for fine in (
        code(other, official=False),
        code(other, official=True),
        code("https://github.com/microsoft/two"),
    ):
        assert found(changed(small, "papers", "2021-two", code=fine)) == []
    silent = changed(small, "papers", "2021-two", code=code("https://github.com/cycole/two"))
    assert found(silent) == []
    the_one(silent, "L7", "is https://github.com/cycole/two official?", strict=True)


@pytest.mark.parametrize(
    ("owner", "authors", "is_author"),
    [
        ("luoweizhou", ["Luowei Zhou"], True),
        ("j-min", ["Jaemin Cho", "Jae-Won Min"], True),
        ("ashkamath", ["Aishwarya Kamath"], True),
        ("lucidrains", ["Jean-Baptiste Alayrac"], False),
        ("ammesatyajit", ["Chen Sun"], False),
        ("Muennighoff", ["Fei Yu", "Jiji Tang"], False),
        ("x", [], False),
    ],
)
def test_an_owner_is_an_author_if_a_name_is_in_the_handle(owner, authors, is_author):
    assert _author(owner, authors) is is_author


def test_l8_sizes_ten_times_apart_need_a_remark(small):
    other = {"value": 11_300, "source": ["survey#row COCO"], "confidence": "secondary"}
    size = fact(113_000, alternatives=[other])
    the_one(
        changed(small, "datasets", "coco", n_images=size), "L8", "113000 here, and 11300 in survey#row COCO"
    )
    for noted in (fact(113_000, alternatives=[{**other, "note": "a slip"}]), {**size, "note": "a slip"}):
        assert found(changed(small, "datasets", "coco", n_images=noted)) == []
    for value, wrong in ((11_500, True), (11_600, False), (1_130_000, True), (113_100, False)):
        size["alternatives"] = [{**other, "value": value}]
        assert bool(found(changed(small, "datasets", "coco", n_images=size))) is wrong, value


def test_l9_every_acronym_is_explained_if_only_as_unmapped(small):
    listed = fact(["MLM", "XYZ"])
    the_one(
        changed(small, "models", "one", objectives_listed=listed), "L9", "'XYZ' is neither an objective nor"
    )
    uses = fact([{"id": "unmapped:ABC"}])
    the_one(changed(small, "models", "three", objectives=uses), "L9", "no alias says that 'ABC' is unmapped")
    assert found(changed(small, "models", "three", objectives=fact([{"id": "unmapped:GR"}]))) == []


def test_l10_a_model_without_video_has_no_video_data(small):
    data = fact([{"dataset": "clips"}])
    the_one(
        changed(small, "checkpoints", "two", pretrain_data=data),
        "L10",
        "clips is video, and two has no modality",
    )
    the_one(with_result(small, TWO, dataset="clips"), "L10", "clips is video, and two has no modality video")
    assert found(with_result(small, TWO, dataset="clips", setting="zero-shot")) == []
    record(small, "models", "two")["modalities"] = fact(["video", "text"])
    assert found(changed(small, "checkpoints", "two", pretrain_data=data)) == []


def test_l11_params_say_what_they_count(small):
    the_one(
        changed(small, "checkpoints", "one-base", params=fact(86)), "L11", "one-base: params without a conv"
    )


def test_l12_a_column_with_scst_says_so_for_all(small):
    catalogue = changed(small, "results", CIDER, source=["2021-two#Table 4"])
    the_one(catalogue, "L12", CIDER, "say which this is")
    record(catalogue, "results", CIDER)["protocol"] = {"scst": False}
    assert found(catalogue) == []


@pytest.mark.parametrize(("value", "fine"), [(1.205, False), (11.9, False), (12.1, True), (154.9, True)])
def test_l13_cider_is_times_a_hundred(small, value, fine):
    catalogue = changed(small, "results", CIDER, value=value)
    if fine:
        assert found(catalogue) == []
    else:
        the_one(catalogue, "L13", f"CIDEr {value:g} is not on the scale times 100")


def test_l14_retrieval_says_among_how_many(small):
    task = {**record(small, "tasks", "vqa"), "id": "image-text-retrieval", "name": "retrieval", "aliases": []}
    small["tasks"].append(task)
    record(small, "papers", "2020-one")["tasks"]["value"].append("image-text-retrieval")
    catalogue = changed(small, "results", DEV, task="image-text-retrieval")
    the_one(catalogue, "L14", "among how many?")
    record(catalogue, "results", DEV)["protocol"] = {"candidates": "5k"}
    assert found(catalogue) == []


def test_l15_what_the_abstract_names_is_in_the_list(small):
    named = fact(["mlm", "itc"])
    the_one(
        changed(small, "papers", "2020-one", abstract_objectives=named), "L15", "of 2020-one names itc too"
    )
    assert found(changed(small, "papers", "2021-two", abstract_objectives=named)) == []


@pytest.mark.parametrize(
    ("id_", "fields", "message"),
    [
        ("2021-two", {"code": code("https://github.com/cole/two", http=404)}, "is dead (HTTP 404)"),
        ("2021-two", {"code": code("Two: a better model")}, "'Two: a better model' is no address"),
        ("2021-two", {"code": code("")}, "'' is no address"),
        ("2021-two", {"url": fact("ftp://x.org/a")}, "'ftp://x.org/a' is no address"),
        ("2021-two", {"arxiv": fact("1909.11740")}, "arxiv 1909.11740 is that of 2020-one too"),
    ],
)
def test_l16_addresses_work_and_are_of_one_paper(small, id_, fields, message):
    the_one(changed(small, "papers", id_, **fields), "L16", message)


def test_l16_strict_finds_code_that_two_papers_share(small):
    shared = code("https://github.com/cole/Two/", official=True)
    catalogue = changed(small, "papers", "2022-three", code=shared)
    assert found(catalogue) == []
    the_one(catalogue, "L16", "stands at 2021-two too", strict=True)


def test_l17_a_name_of_two_things_is_an_alias_with_both_senses(small):
    catalogue = changed(small, "models", "three", aliases=["T-W-O"])
    defects = found(catalogue)
    assert defects[0] == ("L17", "models two: 'two' is also model three: add an alias with both senses")
    senses = [{"kind": "model", "id": id_} for id_ in ("two", "three")]
    catalogue["aliases"].append({"alias": "Two", "senses": senses, "source": []})
    assert [message for rule, message in found(catalogue) if message.startswith("models")] == []
    assert found(changed(small, "datasets", "vqa-v2", aliases=["VQA"])) == []  # the task on it
    the_one(changed(small, "datasets", "clips", aliases=["ITC"]), "L17", "'ITC' is also objective itc")


def test_a_files_own_value_is_linted_where_the_catalogue_has_another(small, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "papers:\n"
        "  - {id: 2020-one, source: [survey#row 1], confidence: secondary, venue_status: preprint}\n"
        "datasets:\n"
        "  - {id: clips, source: [survey#row 2], confidence: secondary, n_clips: 13600}\n",
        encoding="utf-8",
    )
    record(small, "datasets", "clips")["n_clips"] = fact(136_000, source="2022-three#Table 1")
    defects = lint_files([path], catalogue=small)
    assert [(defect.line, defect.rule) for defect in defects] == [(2, "L6"), (4, "L8")]
    assert "a preprint, though it was published 2020-08" in defects[0].message
    assert "13600 here, and 136000 in 2022-three#Table 1" in defects[1].message


def test_a_file_of_ones_own_is_linted_with_the_catalogue_around_it(small, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("models:\n  - {id: mine}\n", encoding="utf-8")
    defects = lint_files([path], catalogue=small)
    assert {(defect.line, defect.rule) for defect in defects} == {(2, "schema")}
    path.write_text(
        "results:\n"
        "  - checkpoint: one-base\n"
        "    source: ['figure#bar 1']\n"
        "    confidence: secondary\n"
        "    results:\n"
        "      - {task: dialogue, dataset: vqa-v2, split: val, metric: vqa-acc, value: 74.5}\n"
        "      - {task: vqa, dataset: vqa-v2, split: val, metric: vqa-acc, value: 0.745}\n",
        encoding="utf-8",
    )
    record(small, "checkpoints", "two")["params"].pop("convention")  # not the file's fault
    defects = lint_files([path], catalogue=small)
    assert [(defect.line, defect.column, defect.rule) for defect in defects] == [(6, 10, "L5"), (7, 67, "L2")]
    assert str(defects[0]).startswith(f"{path}:6:10: L5: results one-base/dialogue/")
