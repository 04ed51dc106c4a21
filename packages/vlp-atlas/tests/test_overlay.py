import copy

import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas
from vlp_atlas.defects import Rejected
from vlp_atlas.overlay import merged, overlaid

OWN = """
sources:
  - {id: mine, kind: reproduction, title: My runs, url: "https://example.org/mine", retrieved: 2026-11-25}
"""
DEV = "one-base/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned"


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


PARAMS = """
checkpoints:
  - id: {id}
    source: ["{source}#log"]
    confidence: {confidence}
    params: {{value: {value}, convention: total}}
"""


def test_new_records_are_merged_and_tagged(small, file):
    before = copy.deepcopy(small)
    text = (
        OWN
        + """
papers:
  - id: 2026-mine
    title: Mine
    year: 2026
    venue: arXiv
    venue_status: preprint
    source: [mine]
    confidence: verified
models:
  - id: mine
    name: Mine
    paper: 2026-mine
    source: [mine]
    confidence: verified
    modalities: [image, text]
    objectives_listed: [MML]
"""
    )
    catalogue, warnings = merged(small, [file(text)])
    mine = record(catalogue, "models", "mine")
    assert mine["local"] is True
    assert mine["objectives"]["value"] == [{"id": "itm", "acronym": "MML"}]  # an alias of the catalogue's
    assert [row["id"] for row in Atlas(catalogue).models(objective="itm", after=2025).rows] == ["mine"]
    assert warnings == []
    assert small == before
    assert catalogue["hash"] != small["hash"]
    assert catalogue["data_version"] == "2026.11.0+local"


def test_a_fact_that_was_not_there_is_added_and_tagged(small, file):
    text = """
models:
  - {id: three, source: [mine], confidence: verified, fusion: dual-encoder, codec: encoder-only}
"""
    text = OWN + text
    catalogue, warnings = merged(small, [file(text)])
    three = record(catalogue, "models", "three")
    for field, value in (("fusion", "dual-encoder"), ("codec", "encoder-only")):
        assert three[field] == {"value": value, "source": ["mine"], "confidence": "verified", "local": True}
    assert "local" not in three["modalities"]
    assert "local" not in three
    assert warnings == []


def test_another_value_is_kept_beside_the_catalogues_with_a_warning(small, file):
    path = file(OWN + PARAMS.format(id="one-base", source="mine", confidence="verified", value=110))
    catalogue, warnings = merged(small, [path])
    params = record(catalogue, "checkpoints", "one-base")["params"]
    assert (params["value"], params["confidence"]) == (86_000_000, "disputed")
    assert params["alternatives"] == [
        {"value": 110, "source": ["mine#log"], "confidence": "verified", "local": True}
    ]
    assert len(warnings) == 1
    assert f"{path}:9:5: checkpoints one-base: params: 110 here, 86000000 in the catalogue" in warnings[0]
    assert "both are kept as disputed, the catalogue's stands" in warnings[0]


def test_ones_own_value_stands_only_on_request(small, file):
    path = file(OWN + PARAMS.format(id="one-base", source="mine", confidence="verified", value=110))
    catalogue, warnings = merged(small, [path], prefer_local=True)
    params = record(catalogue, "checkpoints", "one-base")["params"]
    assert (params["value"], params["confidence"], params["local"]) == (110, "disputed", True)
    assert [(other["value"], other["source"]) for other in params["alternatives"]] == [
        (86_000_000, ["2020-one#Table 1"])
    ]
    assert "yours stands" in warnings[0]


@pytest.mark.parametrize(
    ("id_", "source", "confidence", "stands", "other"),
    [("two", "mine", "verified", 110, 210_000_000), ("one-base", "memory", "unverified", 86_000_000, 110)],
)
def test_memory_gives_way_without_a_dispute(small, file, id_, source, confidence, stands, other):
    path = file(OWN + PARAMS.format(id=id_, source=source, confidence=confidence, value=110))
    catalogue, warnings = merged(small, [path])
    params = record(catalogue, "checkpoints", id_)["params"]
    assert (params["value"], params["confidence"]) == (stands, "verified")
    assert [one["value"] for one in params["alternatives"]] == [other]
    assert warnings == []


def test_the_same_value_adds_its_source_and_disputes_nothing(small, file):
    path = file(OWN + PARAMS.format(id="one-base", source="mine", confidence="verified", value=86_000_000))
    catalogue, warnings = merged(small, [path])
    expected = record(small, "checkpoints", "one-base")
    expected["params"]["source"] = [*expected["params"]["source"], "mine#log"]
    assert record(catalogue, "checkpoints", "one-base") == expected
    assert warnings == []


def test_the_same_value_from_memory_adds_no_source_to_what_was_read(small, file):
    path = file(PARAMS.format(id="one-base", source="memory", confidence="unverified", value=86_000_000))
    catalogue, warnings = merged(small, [path])
    assert record(catalogue, "checkpoints", "one-base") == record(small, "checkpoints", "one-base")
    assert warnings == []


def test_what_was_remembered_is_verified_by_a_source_that_says_the_same(small, file):
    path = file(OWN + PARAMS.format(id="two", source="mine", confidence="verified", value=210_000_000))
    catalogue, warnings = merged(small, [path])
    assert record(catalogue, "checkpoints", "two")["params"] == {
        "value": 210_000_000,
        "convention": "total",
        "source": ["mine#log"],
        "confidence": "verified",
        "local": True,
    }
    assert warnings == []


RESULT = """
results:
  - {{checkpoint: one-base, task: vqa, dataset: vqa-v2, split: {split}, metric: vqa-acc, value: 73.5,
     source: ["mine#run 1"], confidence: verified}}
"""


def test_own_results_are_added_or_dispute_the_catalogues(small, file):
    catalogue, warnings = merged(small, [file(OWN + RESULT.format(split="val"))])
    assert record(catalogue, "results", DEV.replace("test-dev", "val"))["local"] is True
    assert warnings == []
    catalogue, warnings = merged(small, [file(OWN + RESULT.format(split="test-dev"))])
    found = record(catalogue, "results", DEV)
    assert (found["value"], found["confidence"]) == (72.7, "disputed")
    assert found["alternatives"][0]["value"] == 73.5
    assert "72.7 in the catalogue" in warnings[0]
    catalogue, _ = merged(small, [file(OWN + RESULT.format(split="test-dev"))], prefer_local=True)
    found = record(catalogue, "results", DEV)
    assert (found["value"], found["id"], found["alternatives"][0]["value"]) == (73.5, DEV, 72.7)
    assert Atlas(catalogue).results(split="test-dev", checkpoint="one-base").rows[0]["value"] == 73.5


def test_a_list_is_read_by_its_file_name(small, file):
    text = "- {id: new, kind: leaderboard, title: T, url: 'https://x.org', retrieved: 2026-11-25}\n"
    catalogue, _ = merged(small, [file(text, "sources.yaml")])
    assert record(catalogue, "sources", "new")["local"] is True


def test_aliases_get_more_senses(small, file):
    catalogue, _ = merged(small, [file("aliases: [{alias: gr, senses: [{kind: objective, id: itc}]}]")])
    with pytest.raises(UserError, match="may mean"):
        Atlas(catalogue).resolve("GR", "objectives")


def test_several_files_are_merged_in_their_order(small, file):
    sources = file(OWN, "one.yaml")
    result = file(RESULT.format(split="val"), "two.yaml")
    places = overlaid(small, [sources, result]).places
    assert places.of("results", DEV.replace("test-dev", "val")).file.endswith("two.yaml")
    assert places.of("sources", "mine").line == 3


TAKEN = "sources: [{id: memory, kind: leaderboard, title: X, url: 'https://x.org', retrieved: 2026-11-25}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 5", "must be a mapping from kinds"),
        ("modles: []", "1:1: schema: no kind 'modles'"),
        ("models: 5", "models: must be a list of records"),
        ("models: [{id: mine}]", "models mine: name: is missing"),
        (
            "models: [{id: one, fusion: both, source: [memory], confidence: unverified}]",
            "fusion.value: Input sh",
        ),
        ("models: [{id: one, fusion: hybrid}]", "fusion.confidence: is missing"),
        ("models: [{id: one, colour: red}]", "colour: no such field"),
        (TAKEN, "the catalogue has another source of this id"),
        ("models: [{id: one, codec: encoder-only, source: [me], confidence: verified}]", "no sources 'me'"),
        ("a: no", "write true or false"),
    ],
)
def test_wrong_files_are_refused(small, file, text, message):
    with pytest.raises(Rejected) as caught:
        merged(small, [file(text)])
    assert message in str(caught.value)


def test_a_later_schema_is_refused_and_an_earlier_minor_one_is_read(small, file):
    with pytest.raises(
        UserError, match=r"written for schema 1\.7\.0, and this is 1\.0\.0: install a later vlp-atlas"
    ):
        merged(small, [file("schema_version: '1.7.0'\nmodels: []\n")])
    with pytest.raises(
        UserError,
        match=r"mine\.yaml: written for schema 0\.9\.0, which 1\.0\.0 does not read: "
        r"write its records as `vlp-atlas new` does, then schema_version: 1\.0\.0$",
    ):
        merged(small, [file("schema_version: '0.9.0'\nmodels: []\n")])
    assert merged(small, [file("schema_version: 1.0.0\nmodels: []\n")])[1] == []


def test_a_missing_file_is_told(small, tmp_path):
    with pytest.raises(Rejected, match=r"none\.yaml: yaml: cannot be read: No such file"):
        merged(small, [tmp_path / "none.yaml"])
