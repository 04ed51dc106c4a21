import random

import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas
from vlp_atlas.querying import matches


def ids(table):
    return [row["id"] for row in table.rows]


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def test_a_row_is_a_checkpoint_with_sizes_or_the_model(small_atlas):
    table = small_atlas.models()
    assert [(row["id"], row["kind"]) for row in table.rows] == [
        ("one-base", "checkpoint"), ("one-large", "checkpoint"), ("three", "model"), ("two", "checkpoint"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"objective": "ITC"}, ["two"]),
        ({"objective": "itm"}, ["one-base", "one-large", "two"]),
        ({"objective": ["mlm", "itc"]}, ["two"]),
        ({"objective": "unmapped:GR"}, ["one-base", "one-large"]),
        ({"after": 2019}, ["three", "two"]),
        ({"after": "2021-06"}, ["three", "two"]),
        ({"after": "2021-07-16"}, ["three"]),
        ({"before": 2021}, ["one-base", "one-large"]),
        ({"before": "2022"}, ["one-base", "one-large", "two"]),
        ({"modality": "video"}, ["three"]),
        ({"modality": ["Image", "text"]}, ["one-base", "one-large", "two"]),
        ({"fusion": "dual-stream"}, ["two"]),
        ({"vision_fe": "OD-RF"}, ["one-base", "one-large"]),
        ({"interaction": "self-attention"}, ["one-base", "one-large"]),
        ({"interaction": "Co-attention"}, ["two"]),
        ({"interaction": "vse"}, []),
        ({"granularity": "roi"}, ["one-base", "one-large"]),
        ({"granularity": "image"}, []),
        ({"survey": "w"}, ["one-base", "one-large"]),
        ({"survey": "C"}, []),
        ({"text": "ärlig"}, ["one-base", "one-large"]),
        ({"text": "ÄRLIG"}, ["one-base", "one-large"]),
        ({"text": "a\u0308rlig"}, ["one-base", "one-large"]),
        ({"text": "."}, ["one-base", "one-large"]),
        ({"text": ".*"}, []),
    ],
)
def test_filters(small_atlas, filters, found):
    assert ids(small_atlas.models(**filters)) == found


def test_what_is_unverified_is_hidden_counted_and_shown_on_request(small):
    table = Atlas(small).models(objective="itm")
    assert record(table.__dict__, "rows", "two")["params"] is None
    assert "1 unverified value hidden" in table.footer
    shown = Atlas(small, unverified=True)
    assert ids(shown.models(objective="itc")) == ["three", "two"]
    assert record(shown.models().__dict__, "rows", "two")["params"] == 210_000_000
    assert not any("hidden" in line for line in shown.models().footer)


def test_objectives_that_only_interpret_listed_acronyms_are_counted(small):
    told = "objectives of 1 model are from acronyms in a list, not read in the paper"
    assert told in Atlas(small).models(objective="mlm").footer  # ONE's, of the survey; two's are its paper's
    assert Atlas(small).models(objective="itc").footer == ["1 unverified value hidden"]
    record(small, "models", "two")["objectives"]["source"] = ["survey#row 2"]  # by hand, from the same table
    table = Atlas(small).models(objective="mlm")
    assert "objectives of 2 models are from acronyms in a list, not read in the paper" in table.footer
    record(small, "models", "two")["objectives"]["source"].append("2021-two#Section 3")
    assert told in Atlas(small).models(objective="mlm").footer


def test_flamingo_s_contrastive_loss_is_told_to_be_a_survey_s_acronym():
    assert Atlas.load().models(text="flamingo").footer == [
        "objectives of 1 model are from acronyms in a list, not read in the paper",
        "1 unverified value hidden",
    ]


def test_any_unverified_field_of_a_row_is_hidden(small):
    record(small, "models", "one")["fusion"]["confidence"] = "unverified"
    record(small, "papers", "2020-one")["venue"]["confidence"] = "unverified"
    row, shown = (Atlas(small, unverified=unverified).models().rows[0] for unverified in (False, True))
    assert (row["fusion"], row["venue"], row["vision_fe"]) == (None, None, "od-rf")
    assert (shown["fusion"], shown["venue"]) == ("single-stream", "ECCV")


def test_unknown_sizes_come_last_in_both_directions_and_are_counted(small_atlas):
    up, down = small_atlas.models(sort="params"), small_atlas.models(sort="-params")
    assert ids(up) == ["one-base", "one-large", "three", "two"]
    assert ids(down) == ["one-large", "one-base", "three", "two"]
    assert "2 without params, last" in up.footer
    assert "2 without params, last" in down.footer


def test_mixed_conventions_are_shown_and_refused_if_strict(small):
    shown = Atlas(small, unverified=True)
    table = shown.models(sort="params")
    assert [row["convention"] for row in table.rows] == ["excl-embeddings", "total", "excl-embeddings", None]
    assert (
        "parameters are counted in different ways: excl-embeddings, total (column convention)" in table.footer
    )
    with pytest.raises(UserError, match=r"different ways here \(excl-embeddings, total\)"):
        shown.models(strict_params=True)
    assert len(Atlas(small).models(strict_params=True)) == 4  # the other way is hidden


def test_an_empty_table_says_which_filter_removed_the_last_rows(small_atlas):
    table = small_atlas.models(objective="itc", after=2019, fusion="single-stream", modality="text")
    assert (table.rows, table.footer) == ([], ["nothing left: fusion single-stream removed the last 1"])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"objective": "itcc"}, "no objective 'itcc'; the nearest: itc"),
        ({"fusion": "dualstream"}, r"no fusion 'dualstream' \(dual-stream\?\): one of single-stream"),
        ({"modality": "movie"}, "no modality 'movie'"),
        ({"interaction": "attention"}, "no interaction 'attention'"),
        ({"granularity": "rois"}, r"no granularity 'rois' \(roi\?\): one of roi, patch, pixel, image"),
        ({"survey": "X"}, "no survey 'X': one of W, C"),
        ({"after": "last year"}, "after 'last year': write a year"),
        ({"after": "21"}, "write a year"),
        ({"sort": "parms"}, r"no column 'parms' \(params\?\)"),
    ],
)
def test_a_wrong_filter_is_refused(small_atlas, filters, message):
    with pytest.raises(UserError, match=message):
        small_atlas.models(**filters)


def test_results_by_all_filters(small_atlas):
    assert len(small_atlas.results()) == 7
    dev = small_atlas.results(task="vqa", split="TEST-DEV", sort="-value")
    assert [row["value"] for row in dev.rows] == [75.84, 73.82, 72.7]
    assert len(small_atlas.results(checkpoint="ONE")) == 5
    assert len(small_atlas.results(checkpoint="ONE-large")) == 2
    scst = small_atlas.results(metric="cider", checkpoint="two").rows[0]
    assert (scst["protocol"], scst["unit"], scst["value"]) == ("scst=true", "x100", 140)
    empty = small_atlas.results(task="vqa", setting="zero-shot")
    assert empty.footer == ["nothing left: setting zero-shot removed the last 5"]


def test_unverified_results_are_hidden(small):
    record(small, "results", "two/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned")["confidence"] = "unverified"
    table = Atlas(small).results(task="vqa")
    assert (len(table), table.footer) == (4, ["1 unverified result hidden"])
    assert len(Atlas(small, unverified=True).results(task="vqa")) == 5


def test_a_table_becomes_a_frame_with_its_columns(small_atlas):
    frame = small_atlas.models(sort="params").to_frame()
    assert list(frame.columns) == small_atlas.models().columns
    assert frame["params"].tolist()[:2] == [86_000_000, 303_000_000]
    assert frame.attrs["footer"] == small_atlas.models(sort="params").footer


def test_every_cell_that_is_a_fact_has_its_sources(small_atlas):
    for row in small_atlas.models().rows:
        for column, fact in row["_facts"].items():
            if row[column] is not None:
                assert fact["source"], (row["id"], column)


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("(", "a (b)", True),
        ("[a-z]", "abc", False),
        ("STRASSE", "straße", True),
        ("שלום", "אמר שלום לכם", True),
        ("语言", "视觉语言预训练", True),
        ("e\u0301", "caf\u00e9", True),
        ("cafe", "caf\u00e9", False),
        ("", "anything", True),
        ("a", None, False),
    ],
)
def test_text_is_matched_letter_by_letter(text, field, found):
    assert matches(text, field) is found


def test_models_equal_a_brute_force_filter_over_random_catalogues(small):
    draw = random.Random(0)
    for _ in range(50):
        for model in small["models"]:
            uses = draw.sample(["mlm", "itm", "itc"], draw.randint(0, 3))
            certain = draw.choice(["verified", "unverified"])
            model["objectives"] = {
                "value": [{"id": use} for use in uses],
                "source": ["memory"],
                "confidence": certain,
            }
        atlas = Atlas(small, unverified=draw.random() < 0.5)
        for objective in ("mlm", "itm", "itc"):
            wanted = {
                model["id"]
                for model in small["models"]
                if {"id": objective} in model["objectives"]["value"]
                and (atlas.unverified or model["objectives"]["confidence"] == "verified")
            }
            assert {row["model"] for row in atlas.models(objective=objective).rows} == wanted
            assert {model["id"] for model in atlas.users_of(objective)} == wanted
