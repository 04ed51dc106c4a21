import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from vlp_atlas.building import build, collect, is_current, main, text_of, write
from vlp_atlas.defects import Rejected
from vlp_atlas.schema import json_schema

SMALL = Path(__file__).parent / "small_catalogue"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(SMALL, tmp_path / "catalogue"))


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


def add(folder, file, text):
    path = folder / file
    path.write_text((path.read_text() if path.exists() else "") + text, encoding="utf-8")


def refused(folder):
    with pytest.raises(Rejected) as caught:
        build(folder)
    return [str(defect).partition("catalogue/")[2] for defect in caught.value.defects]


def test_a_bare_value_takes_source_and_confidence_of_its_record(small):
    one = record(small, "models", "one")
    assert one["fusion"] == {
        "value": "single-stream",
        "source": ["2020-one#Section 3"],
        "confidence": "verified",
    }
    assert one["objectives_listed"]["source"] == ["survey#row 1"]
    assert one["objectives_listed"]["confidence"] == "secondary"


def test_a_missing_fact_says_why_and_has_no_value(small):
    three = record(small, "models", "three")
    assert three["fusion"]["value"] is None
    assert three["fusion"]["missing"] == "not-reported"


def test_objectives_come_from_acronyms_through_the_aliases_where_they_are_not_written(small):
    one = record(small, "models", "one")["objectives"]
    assert one["value"] == [
        {"id": "mlm", "acronym": "MLM"},
        {"id": "itm", "acronym": "MML"},
        {"id": "unmapped:GR", "acronym": "GR"},
    ]
    assert (one["source"], one["confidence"]) == (["survey#row 1"], "secondary")
    two = record(small, "models", "two")["objectives"]["value"]
    assert two == [{"id": "itc"}, {"id": "itm"}, {"id": "mlm", "weight": 0.5}]


def test_an_acronym_of_two_objectives_stays_unmapped(folder):
    add(
        folder,
        "aliases.yaml",
        "- {alias: mlm, senses: [{kind: objective, id: mlm}, {kind: objective, id: itm}]}\n",
    )
    uses = record(build(folder), "models", "one")["objectives"]["value"]
    assert uses[0] == {"id": "unmapped:MLM", "acronym": "MLM"}


def test_a_group_of_results_becomes_results_with_ids(small):
    assert [result["id"] for result in small["results"]] == [
        "one-base/captioning/coco/karpathy-test/cider/fine-tuned",
        "one-base/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned",
        "one-base/vqa/vqa-v2/test-std/vqa-acc/fine-tuned",
        "one-large/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned",
        "one-large/vqa/vqa-v2/test-std/vqa-acc/fine-tuned",
        "two/captioning/coco/karpathy-test/cider/fine-tuned/scst=true",
        "two/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned",
    ]
    dev = record(small, "results", "one-base/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned")
    assert (dev["value"], dev["source"], dev["reported_by"]) == (72.7, ["2020-one#Table 3"], "2020-one")


RESULT = """
- {{checkpoint: one-base, task: vqa, dataset: vqa-v2, metric: vqa-acc, split: test-dev,
   value: {value}, source: ["{source}"], confidence: {confidence}{more}}}
"""


@pytest.mark.parametrize(
    ("value", "source", "confidence", "more", "stands", "after"),
    [
        (71.29, "2022-three#Table 2", "secondary", "", 72.7, "disputed"),
        (71.29, "memory", "unverified", "", 72.7, "verified"),
        (72.7, "2022-three#Table 2", "secondary", "", 72.7, "verified"),
        (72.7, "memory", "unverified", "", 72.7, "verified"),
        (70.0, "figure#bar 3", "digitised", ", error: '5 %'", 72.7, "verified"),
        (60.0, "figure#bar 3", "digitised", ", error: '5 %'", 72.7, "disputed"),
        (70.0, "figure#bar 3", "digitised", ", error: '1'", 72.7, "disputed"),
    ],
)
def test_a_second_value_of_a_measurement_disputes_it_unless_from_memory_or_inexact(
    folder, value, source, confidence, more, stands, after
):
    add(
        folder,
        "results/zzz.yaml",
        RESULT.format(value=value, source=source, confidence=confidence, more=more),
    )
    found = record(build(folder), "results", "one-base/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned")
    assert (found["value"], found["confidence"]) == (stands, after)
    if value == stands:
        assert found["source"] == ["2020-one#Table 3", *([source] if source != "memory" else [])]
        assert found["alternatives"] == []
    else:
        assert [(other["value"], other["source"]) for other in found["alternatives"]] == [(value, [source])]


def test_two_builds_are_equal_to_the_byte_however_the_files_are_split(folder, tmp_path):
    write(folder)
    other = tmp_path / "other"
    shutil.copytree(SMALL, other)
    (other / "results" / "two.yaml").rename(other / "results" / "aaa.yaml")
    (other / "papers").mkdir()
    (other / "papers.yaml").rename(other / "papers" / "all.yaml")
    write(other)
    assert (folder / "atlas.json").read_bytes() == (other / "atlas.json").read_bytes()
    assert is_current(folder)
    add(folder, "version.yaml", "# remark\n")
    assert is_current(folder)
    add(
        folder,
        "sources.yaml",
        "- {id: new, kind: leaderboard, title: T, url: 'https://x.org', retrieved: 2026-11-25}\n",
    )
    assert not is_current(folder)


def test_the_json_schema_accepts_the_catalogue_and_refuses_a_changed_one(small):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(small))
    record(small, "models", "one")["fusion"]["value"] = "both"
    assert list(validator.iter_errors(small))


def test_the_hash_changes_with_any_fact(small, folder):
    text = (folder / "checkpoints.yaml").read_text()
    (folder / "checkpoints.yaml").write_text(text.replace("86000000", "86000001"))
    assert build(folder)["hash"] != small["hash"]
    assert build(SMALL)["hash"] == small["hash"]


def test_as_of_is_the_last_day_on_which_a_source_was_read(small):
    assert small["as_of"] == "2026-11-25"


def test_text_of_reads_back_and_has_a_record_a_line(small):
    text = text_of(small)
    assert json.loads(text) == small
    assert sum(line.startswith('{"') for line in text.splitlines()) >= sum(
        len(small[kind]) for kind in ("models", "results")
    )


OWN = "source: [memory], confidence: unverified}"
X = "- {id: x, name: X, paper: 2020-one, "
POINT = "- {id: x, name: X, model: one, "
PAPER = "- {id: p, title: T, venue: X, venue_status: preprint, "
TEXT = "modalities: [text], "
VALUE = "task: vqa, dataset: coco, split: x, value: 1}"
RESULTS = "- checkpoint: one-base\n  source: [memory]\n  confidence: unverified\n  results:\n"


@pytest.mark.parametrize(
    ("file", "text", "where", "message"),
    [
        ("models.yaml", X + TEXT + "source: [memory], confidence: sure}", "29:75", "not 'sure'"),
        ("models.yaml", "- {id: one, name: X, paper: 2020-one, " + TEXT + OWN, "29:3", "second time"),
        ("models.yaml", "- {id: x, nmae: X, paper: 2020-one, " + TEXT + OWN, "29:11", "such field; name?"),
        ("models.yaml", "- {id: x, name: X, paper: 2020-on, " + TEXT + OWN, "29:20", "'2020-on'; 2020-one?"),
        ("models.yaml", X + TEXT + "source: [memry], confidence: unverified}", "29:57", "'memry'; memory?"),
        ("models.yaml", X + "modalities: [txt], " + OWN, "29:50", "not 'txt'"),
        ("models.yaml", X + TEXT + "fusion: null, " + OWN, "29:57", "either a value or says why"),
        ("models.yaml", X + TEXT + "objectives: [{id: mlmm}], " + OWN, "29:57", "objectives 'mlmm'; mlm?"),
        ("models.yaml", "- 5", "29:3", "a record must be a mapping"),
        ("checkpoints.yaml", POINT + "params: 5.5, " + OWN, "21:32", "not 5.5"),
        ("checkpoints.yaml", POINT + "pretrain_data: [{dataset: cc}], " + OWN, "21:32", "'cc'"),
        ("results/z.yaml", RESULTS + "    - {metric: vq, " + VALUE, "5:8", "'vq'"),
        ("results/zzz.yaml", "- {checkpoint: one-base}", "1:3", "task: is missing"),
        ("aliases.yaml", "- {alias: mml, senses: [{kind: objective, id: mlm}]}", "5:3", "second time"),
        ("aliases.yaml", "- {alias: X, senses: [{kind: objective, id: mlmm}]}", "5:23", "'mlmm'"),
        ("papers.yaml", PAPER + "year: '2020', " + OWN, "34:55", "not '2020'"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_refused_with_its_place(folder, file, text, where, message):
    add(folder, file, f"{text}\n")
    defects = refused(folder)
    found = [defect for defect in defects if defect.startswith(f"{file}:{where}: ") and message in defect]
    assert len(found) == 1, defects


def test_a_mistake_in_what_all_facts_take_over_is_told_once(folder):
    add(folder, "models.yaml", X + TEXT + "fusion: hybrid, source: [memry], confidence: unverified}\n")
    assert len(refused(folder)) == 1
    add(folder, "models.yaml", X.replace("id: x", "id: y") + TEXT + "source: [memory], confidence: sure}\n")
    assert len(refused(folder)) == 1  # the schema first, then what the records point at


def test_all_that_is_wrong_is_told_at_once(folder):
    add(folder, "models.yaml", "- {id: X, name: X}\n")
    add(folder, "tasks.yaml", "- {id: yes}\n")
    add(folder, "papers.yaml", "- {id: p}\n")
    files = {defect.partition(":")[0] for defect in refused(folder)}
    assert files == {"models.yaml", "tasks.yaml", "papers.yaml"}


def test_a_folder_without_files_or_version_is_refused(folder, tmp_path):
    with pytest.raises(Rejected, match=r"has none of sources\.yaml"):
        build(tmp_path)
    (folder / "version.yaml").unlink()
    assert refused(folder) == ["version.yaml: yaml: cannot be read: No such file or directory"]


def test_places_of_facts_are_their_lines():
    places = collect(SMALL).places
    assert places.of("checkpoints", "one-large", "params", "value")[1:] == (12, 12)
    assert places.of("checkpoints", "nobody").file == "atlas.json"


def test_the_command_writes_and_checks(folder, capsys):
    assert main([str(folder), "--check"]) == 1
    assert "atlas.json is not current" in capsys.readouterr().out
    assert main([str(folder)]) == 0
    assert main(["--check", str(folder)]) == 0
    assert capsys.readouterr().out.count("3 models, 3 checkpoints") == 2
    add(folder, "models.yaml", "- 5\n")
    assert main([str(folder)]) == 1
    assert "models.yaml:29:3: schema:" in capsys.readouterr().err
