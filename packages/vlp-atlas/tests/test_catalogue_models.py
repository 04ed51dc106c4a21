"""The catalogue's models against what the survey's table holds, read from the YAML without our own reader.

The numbers are those of paperList.md of Wang et al. 2023 at the commit that the source `w-table` names.
"""

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import vlp_atlas

CATALOGUE = Path(vlp_atlas.__file__).parent / "catalogue"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def read(kind: str) -> list[dict[str, Any]]:
    """All records of a kind, as they are written."""
    files = [CATALOGUE / f"{kind}.yaml", *sorted((CATALOGUE / kind).glob("*.yaml"))]
    texts = (file.read_text(encoding="utf-8") for file in files if file.exists())
    return [record for text in texts for record in yaml.load(text, Loader=LOADER)]


def surveyed() -> list[dict[str, Any]]:
    return [model for model in read("models") if "W" in model.get("in_survey", [])]


def facts(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The fields of a record that say their source, and the alternatives in them."""
    found = [(name, fact) for name, fact in record.items() if isinstance(fact, dict) and "confidence" in fact]
    return found + [(name, other) for name, fact in found for other in fact.get("alternatives", [])]


def as_listed(model: dict[str, Any], field: str) -> Any:
    """What the table says: the value, or the alternative that has the table as its source."""
    value = model[field]
    if not isinstance(value, dict):
        return value
    for fact in (value, *value.get("alternatives", [])):
        if any(ref.startswith("w-table#") for ref in fact["source"]):
            return fact["value"]
    raise AssertionError(f"{model['id']}: {field} does not say what the table has")


def test_every_row_of_the_table_is_one_model() -> None:
    assert sorted(model["survey_row"] for model in surveyed()) == list(range(1, 90))


def test_rows_by_the_listed_year() -> None:
    years = Counter(int(model["venue_listed"][-4:]) for model in surveyed())
    assert years == {2019: 7, 2020: 17, 2021: 35, 2022: 30}


def test_preprints_as_listed() -> None:
    listed = Counter(re.split(r"-\d", model["venue_listed"])[0] for model in surveyed())
    assert (listed["arXiv"], listed["CVPR"], listed["ICML"], listed["NeurIPS"]) == (39, 13, 5, 6)


def test_objectives_as_listed() -> None:
    words = Counter(
        word for model in surveyed() for name in model["objectives_listed"] for word in name.split()
    )
    assert words.most_common(6) == [
        ("MLM", 38), ("CS", 28), ("MML", 24), ("MOR", 10), ("GR", 9), ("MOC", 8),
    ]  # fmt: skip
    assert sum(words.values()) == 216  # with the `3-way` of one row and the `loss` of two
    assert len(words) == 85


def test_modalities_as_listed() -> None:
    listed = Counter(frozenset(as_listed(model, "modalities")) for model in surveyed())
    assert listed == {
        frozenset({"image", "text"}): 78,
        frozenset({"video", "text"}): 5,
        frozenset({"image", "text", "audio"}): 3,
        frozenset({"video", "text", "audio"}): 1,
        frozenset({"image", "video", "text"}): 1,
        frozenset({"image", "text", "table", "video", "audio"}): 1,
    }


def test_rows_as_they_stand_there() -> None:
    models = {model["id"]: model for model in surveyed()}
    assert models["lxmert"]["objectives_listed"] == ["QA", "MOR", "MOC", "MML", "MLM"]
    assert models["scale"]["objectives_listed"] == ["MRP", "MLM", "MEM", "MFP", "MFP", "MAM"]
    assert models["vinvl"]["objectives_listed"] == ["MTL", "3-way CS"]
    assert models["vl-bert"]["venue_listed"] == "ICLR-2019"
    assert models["fashionbert"]["venue_listed"] == "RDIR-2020"


def test_the_table_alone_verifies_nothing() -> None:
    for model in surveyed():
        assert model["confidence"] == "secondary"
        assert model["source"][0].startswith("w-table#row")
        for name, fact in facts(model):
            if all(ref.startswith("w-") for ref in fact["source"]):
                assert fact["confidence"] in ("secondary", "digitised", "disputed"), (model["id"], name)


def test_memory_is_never_more_than_unverified() -> None:
    for kind in ("models", "checkpoints", "papers"):
        for record in read(kind):
            for name, fact in [("", record), *facts(record)]:
                if fact.get("source") == ["memory"]:
                    assert fact["confidence"] == "unverified", (record["id"], name)


def test_every_listed_acronym_is_explained_or_said_to_be_unknown() -> None:
    explained = {alias["alias"].casefold() for alias in read("aliases")}
    listed = {name.casefold() for model in surveyed() for name in model["objectives_listed"]}
    assert listed <= explained


def test_acronyms_without_an_expansion_stay_unmapped() -> None:
    senses = {alias["alias"]: {sense["kind"] for sense in alias["senses"]} for alias in read("aliases")}
    for acronym in ("GR", "MIR", "GC", "VG", "LRM", "HRL", "MTM", "IMM", "MMM", "MEM", "3-way CS"):
        assert senses[acronym] == {"unmapped"}, acronym


def test_names_of_several_things_have_all_their_senses() -> None:
    senses = {alias["alias"]: alias["senses"] for alias in read("aliases")}
    for name in ("VLM", "VLP", "OPT", "Frozen", "WIT", "MSM", "MSP", "M6", "ITM"):
        assert len(senses[name]) >= 2, name


def test_code_of_third_parties_is_not_the_authors() -> None:
    papers = {paper["id"]: paper for paper in read("papers")}
    for paper in ("2019-videobert", "2020-ernie-vil", "2022-flamingo"):
        assert [link["official"] for link in papers[paper]["code"]["value"]] == [False]


def test_listed_preprints_that_have_been_published_since() -> None:
    papers = {paper["id"]: paper for paper in read("papers")}

    def published(paper: dict[str, Any]) -> bool:
        status = paper["venue_status"]
        return bool((status["value"] if isinstance(status, dict) else status) != "preprint")

    stale = [
        model["id"]
        for model in surveyed()
        if model["venue_listed"].startswith("arXiv") and published(papers[model["paper"]])
    ]
    assert len(stale) >= 18
    assert {"unimo", "vlmo", "blip", "simvlm"} <= set(stale)


def test_ids_of_papers_are_years_and_keys() -> None:
    for paper in read("papers"):
        first = paper.get("first_public", paper["id"][:4])
        year = str(first["value"] if isinstance(first, dict) else first)[:4]
        assert paper["id"] == "2020-uniter" or paper["id"][:4] == year, paper["id"]


def test_parameters_say_what_they_count() -> None:
    for checkpoint in read("checkpoints"):
        assert "params" not in checkpoint or "convention" in checkpoint["params"], checkpoint["id"]
