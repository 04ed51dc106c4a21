"""The catalogue of this package: what it promises about itself."""

import importlib
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import bibtexparser
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.errors import UserError
from vlp_atlas import Atlas, export, lint, showing
from vlp_atlas.building import CATALOGUE, collect, text_of
from vlp_atlas.exporting import read_export
from vlp_atlas.oracles import oracle
from vlp_atlas.schema import json_schema
from vlp_atlas.vocabulary import KINDS, Fusion, Modality

BUILT = json.loads((CATALOGUE / "atlas.json").read_text(encoding="utf-8"))
MANUAL = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FORMULAS = [
    (kind, record)
    for kind in ("objectives", "metrics")
    for record in BUILT[kind]
    if record.get("impl") is not None
]


@pytest.fixture(scope="module")
def built():
    return collect()


@cache
def atlas(unverified=False):
    return Atlas.load(unverified=unverified)


def holders(value, where=()):
    """Everything that has a confidence, wherever it stands: records, facts, alternatives."""
    if isinstance(value, dict):
        if "confidence" in value:
            yield where, value
        for key, item in value.items():
            yield from holders(item, (*where, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from holders(item, (*where, item.get("id", number) if isinstance(item, dict) else number))


def test_the_built_file_is_what_the_yaml_files_give(built):
    assert (CATALOGUE / "atlas.json").read_text(encoding="utf-8") == text_of(built.atlas)
    assert json.loads((CATALOGUE / "atlas.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_two_builds_are_equal_to_the_byte(built):
    assert text_of(collect().atlas) == text_of(built.atlas)


def test_the_built_file_keeps_its_json_schema():
    schema = json.loads((CATALOGUE / "atlas.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(BUILT)


def test_no_rule_of_the_linter_finds_a_defect(built):
    assert [str(defect) for defect in lint(built.atlas, built.places)] == []


def test_every_value_has_a_source_that_exists():
    sources = {source["id"] for source in BUILT["sources"]}
    count = 0
    for where, fact in holders(BUILT):
        count += 1
        assert fact.get("source") or fact.get("missing"), where
        assert {ref.split("#")[0] for ref in fact["source"]} <= sources, where
    assert count > 1000


def test_nothing_from_memory_is_more_than_unverified():
    memory = {source["id"] for source in BUILT["sources"] if source["kind"] == "personal-memory"}
    assert memory
    remembered = 0
    for where, fact in holders(BUILT):
        if {ref.split("#")[0] for ref in fact["source"]} & memory:
            remembered += 1
            assert fact["confidence"] == "unverified", where
    assert remembered > 100


def test_nothing_about_a_model_is_verified_by_a_third_party_alone():
    third = {s["id"] for s in BUILT["sources"] if s["kind"] in ("third-party-paper", "third-party-repo")}
    for kind in ("papers", "models", "checkpoints", "results"):
        for where, fact in holders(BUILT[kind], (kind,)):
            if fact["confidence"] == "verified":
                assert not {ref.split("#")[0] for ref in fact["source"]} <= third, where


def test_a_disputed_fact_keeps_what_the_others_say():
    disputed = [
        (where, fact)
        for where, fact in holders(BUILT)
        if fact["confidence"] == "disputed" and "value" in fact
    ]
    for where, fact in disputed:
        others = [other for other in fact["alternatives"] if other["confidence"] != "unverified"]
        assert any(other["value"] != fact["value"] for other in others), where


def test_what_was_read_of_a_paper_on_another_s_page_says_so():
    own = (
        "arxiv.org", "ar5iv.labs.arxiv.org", "ecva.net", "papers.neurips.cc", "openreview.net",
        "aclanthology.org",
    )  # fmt: skip  # of arXiv, which keeps what authors sent, and of the conferences
    mirrored = set()
    for source in BUILT["sources"]:
        if source["kind"] == "primary-paper" and "url" in source:
            host = urlsplit(source["url"]).hostname.removeprefix("www.")
            told = source.get("note", "").startswith("abstract read on a mirror; only ")
            assert told == (host not in own), source["id"]
            mirrored |= {source["id"]} if told else set()
    assert len(mirrored) == 13
    assert "abstract read on a mirror" in MANUAL
    assert showing.where(atlas(), "2021-clip#abstract").endswith(
        "read 2026-11-25 (abstract read on a mirror; only title page and abstract were read)"
    )


def test_the_manual_says_what_was_checked_of_links():
    links = [link for paper in BUILT["papers"] for link in (paper.get("code") or {}).get("value") or []]
    links += [link for dataset in BUILT["datasets"] for link in dataset["links"]]
    checked = [link for link in links if "checked" in link or "http" in link]
    assert len(links) > 100
    assert ("none was opened to see whether it answers" in MANUAL) == (not checked)


def test_the_survey_has_89_rows_in_four_years():
    rows = {model["survey_row"]: model for model in BUILT["models"] if model.get("survey_row") is not None}
    assert sorted(rows) == list(range(1, 90))
    assert all("W" in model["in_survey"] for model in rows.values())
    years = [int(re.search(r"(\d\d)$", model["venue_listed"])[1]) for model in rows.values()]
    assert [sum(year <= 19 for year in years), *(years.count(year) for year in (20, 21, 22))] == [
        7,
        17,
        35,
        30,
    ]


def test_the_survey_lists_each_objective_as_often_as_was_counted():
    listed = Counter(
        acronym
        for model in BUILT["models"]
        for acronym in (model.get("objectives_listed") or {}).get("value") or []
    )
    counted = {"MLM": 38, "CS": 27, "3-way CS": 1, "MML": 24, "MOR": 10, "GR": 9, "MOC": 8}
    assert {acronym: listed[acronym] for acronym in counted} == counted


@pytest.mark.parametrize("name", ["VLM", "VLP", "OPT", "Frozen", "WIT", "MSM"])
def test_a_name_with_several_senses_is_never_resolved(name):
    with pytest.raises(UserError, match="may mean"):
        atlas().resolve(name)


@given(
    objective=st.sampled_from([None, *(record["id"] for record in BUILT["objectives"])]),
    after=st.none() | st.integers(2017, 2023),
    modality=st.sampled_from([None, *Modality.__args__]),
    fusion=st.sampled_from([None, *Fusion.__args__]),
    unverified=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_models_are_those_of_a_brute_force_filter(objective, after, modality, fusion, unverified):
    def value(record, field):
        fact = record.get(field) or {}
        return fact.get("value") if unverified or fact.get("confidence") != "unverified" else None

    papers = {paper["id"]: paper for paper in BUILT["papers"]}
    wanted = set()
    for model in BUILT["models"]:
        paper = papers[model["paper"]]
        year = value(paper, "first_public") or value(paper, "year")
        if objective and objective not in [use["id"] for use in value(model, "objectives") or []]:
            continue
        if after is not None and (year is None or int(str(year)[:4]) <= after):
            continue
        if modality and modality not in (value(model, "modalities") or []):
            continue
        if fusion and value(model, "fusion") != fusion:
            continue
        wanted.add(model["id"])
    table = atlas(unverified).models(objective=objective, after=after, modality=modality, fusion=fusion)
    assert {row["model"] for row in table.rows} == wanted
    assert bool(wanted) or table.footer[0].startswith("nothing left: ")


def test_bibtex_parses_and_its_keys_are_unique():
    library = bibtexparser.parse_string(export(atlas(True), "papers", "bibtex"))
    assert library.failed_blocks == []
    keys = [entry.key.casefold() for entry in library.entries]
    assert len(set(keys)) == len(keys) == len(BUILT["papers"])


def test_exports_read_back():
    assert read_export(export(atlas(True), "atlas", "json"), "json") == BUILT
    for kind in KINDS:
        assert read_export(export(atlas(True), kind, "jsonl"), "jsonl") == BUILT[kind]


@pytest.mark.parametrize(("kind", "record"), FORMULAS, ids=[record["id"] for _, record in FORMULAS])
def test_every_formula_is_there_and_gives_its_worked_example(kind, record):
    pytest.importorskip("torch")
    module, _, name = record["impl"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    if kind == "objectives" or record.get("oracle") is not None:
        example = oracle(record["oracle"])
        assert example.passes(), f"{example.what}: {example.run()}, not {example.expected}"


def test_every_metric_with_code_has_a_worked_example():
    assert [metric["id"] for metric in BUILT["metrics"] if metric["impl"] and not metric["oracle"]] == []
