import csv
import io
import json

import bibtexparser
import pytest

from nonet.errors import UserError
from vlp_atlas import Atlas
from vlp_atlas.bibtex import escaped, keys, to_bibtex
from vlp_atlas.exporting import FORMATS, export, read_export, to_csv, to_markdown
from vlp_atlas.tabular import Table
from vlp_atlas.vocabulary import KINDS


def record(catalogue, kind, id_):
    return next(found for found in catalogue[kind] if found["id"] == id_)


@pytest.mark.parametrize("kind", KINDS)
def test_json_and_json_lines_read_back_to_the_records(small, kind):
    atlas = Atlas(small, unverified=True)
    for format in ("json", "jsonl"):
        assert read_export(export(atlas, kind, format), format) == small[kind]


def test_the_whole_catalogue_reads_back_and_loads(small, tmp_path):
    text = export(Atlas(small, unverified=True), "atlas", "json")
    assert read_export(text, "json") == small
    path = tmp_path / "atlas.json"
    path.write_text(text, encoding="utf-8")
    again = Atlas.load(path=path, unverified=True)
    assert export(again, "atlas", "json") == text


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_depend_on_the_content_alone(small, format):
    shuffled = {key: small[key] for key in reversed(sorted(small))}
    for kind in KINDS:
        shuffled[kind] = [dict(reversed(found.items())) for found in small[kind]]
    what = {"bibtex": "papers", "eee": "results"}.get(format, "models")
    one, two = (export(Atlas(catalogue), what, format) for catalogue in (small, shuffled))
    assert one == two
    assert "\r" not in one
    assert one.endswith("\n")


def test_what_is_hidden_is_not_exported(small):
    result = record(small, "results", "two/vqa/vqa-v2/test-dev/vqa-acc/fine-tuned")
    result.update(value=12345.0, confidence="unverified", source=["memory"])
    other = {"value": 777777, "source": ["memory"], "confidence": "unverified"}
    record(small, "checkpoints", "one-base")["params"]["alternatives"] = [other]
    for what, secret in (("checkpoints", "210000000"), ("checkpoints", "777777"), ("results", "12345")):
        for format in ("json", "jsonl", "csv", "md"):
            assert secret not in export(Atlas(small), what, format)
        assert secret in export(Atlas(small, unverified=True), what, "jsonl")
    assert "12345" not in export(Atlas(small), "results", "eee")
    exported = {"checkpoints": read_export(export(Atlas(small), "checkpoints", "json"), "json")}
    assert record(exported, "checkpoints", "two")["params"]["missing"] == "unknown"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "'quoted"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted_and_read_back(text):
    written = to_csv(["a"], [{"a": text}, {"a": "plain"}, {"a": -1.5}])
    rows = list(csv.reader(io.StringIO(written)))
    assert rows == [["a"], [f"'{text}"], ["plain"], ["-1.5"]]
    assert read_export(written, "csv") == [{"a": text}, {"a": "plain"}, {"a": "-1.5"}]


def test_carriage_returns_do_not_break_rows():
    written = to_csv(["a"], [{"a": "x\r\ny\rz"}, {"a": "\r=1"}])
    assert read_export(written, "csv") == [{"a": "x\ny\nz"}, {"a": "\n=1"}]


def test_csv_has_a_source_and_a_confidence_beside_every_fact(small_atlas):
    rows = read_export(export(small_atlas, "checkpoints", "csv"), "csv")
    assert [row["id"] for row in rows] == ["one-base", "one-large", "two"]
    assert rows[0]["params"] == "86000000"
    assert rows[0]["params.source"] == "2020-one#Table 1"
    assert rows[0]["params.confidence"] == "verified"
    assert rows[0]["params.convention"] == "excl-embeddings"
    assert json.loads(rows[1]["pretrain_data"]) == [{"dataset": "coco", "pairs": 533000}]


def test_a_table_is_exported_with_its_columns_and_footer(small_atlas):
    table = small_atlas.models(sort="params")
    rows = read_export(export(small_atlas, table, "csv"), "csv")
    assert list(rows[0]) == table.columns
    assert rows[0]["modalities"] == "image; text"
    text = export(small_atlas, table, "md")
    assert text.startswith("| id | name | year |")
    assert "2 without params, last" in text
    assert read_export(export(small_atlas, table, "json"), "json") == table.plain()


def test_markdown_cells_stay_in_their_cell():
    text = to_markdown(["a|b"], [{"a|b": "x | y\n<script>"}], ["note"])
    assert text == "| a\\|b |\n| --- |\n| x \\| y &lt;script> |\n\nnote\n"


def test_bibtex_is_read_by_bibtexparser_with_unique_keys(small):
    paper = record(small, "papers", "2020-one")
    paper["venue"]["value"] = "Q & A of 100 % #1_x"
    small["papers"].append({**paper, "id": "one-2020"})
    library = bibtexparser.parse_string(to_bibtex(small["papers"]))
    assert library.failed_blocks == []
    assert [entry.key for entry in library.entries] == ["one-2020", "two-2021", "three-2022", "one-2020a"]
    one = library.entries[0]
    assert one.entry_type == "inproceedings"
    assert {field.key: field.value for field in one.fields} == {
        "author": "Ada Ärlig and Bob B. Bell",
        "title": r"{One: a \{Model\}}",
        "booktitle": r"Q \& A of 100 \% \#1\_x",
        "year": "2020",
        "eprint": "1909.11740",
        "archiveprefix": "arXiv",
        "month": "sep",
    }


def test_bibtex_keys_start_with_a_letter():
    papers = [{"id": name} for name in ("2020-12-in-1", "2020-uniter", "misc")]
    assert keys(papers) == {"2020-12-in-1": "p-12-in-1-2020", "2020-uniter": "uniter-2020", "misc": "misc"}
    assert (
        escaped("a_b & {c}\\ ~ 5%^")
        == r"a\_b \& \{c\}\textbackslash{} \textasciitilde{} 5\%\textasciicircum{}"
    )


def test_bibtex_of_a_table_has_the_papers_of_its_rows(small_atlas):
    assert export(small_atlas, small_atlas.models(objective="itc"), "bibtex").count("@") == 1
    assert export(small_atlas, "models", "bibtex").count("@") == 3
    results = small_atlas.results(checkpoint="one-base", task="vqa")
    assert export(small_atlas, results, "bibtex").startswith("@inproceedings{one-2020,")


def test_every_eval_ever_documents_have_what_its_schema_asks_for(small):
    documents = [json.loads(line) for line in export(Atlas(small), "results", "eee").splitlines()]
    assert [document["model_info"]["id"] for document in documents] == [
        "vlp-atlas/one-base", "vlp-atlas/one-large", "vlp-atlas/two",
    ]  # fmt: skip
    required = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info"}
    required |= {"eval_library", "evaluation_results"}
    for document in documents:
        assert set(document) == required
        assert document["source_metadata"]["source_type"] == "documentation"
        assert document["source_metadata"]["evaluator_relationship"] == "first_party"
        assert document["retrieved_timestamp"] in ("1795564800", "1795478400")  # 25 and 24 November 2026, UTC
        for result in document["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(result)
            assert all(isinstance(text, str) for text in result["score_details"]["details"].values())
    two = documents[2]["evaluation_results"]
    assert [result["score_details"]["score"] for result in two] == [140, 75.84]
    assert two[0]["score_details"]["details"]["protocol"] == "scst=true"
    assert two[1]["metric_config"]["min_score"] == 0
    assert two[1]["metric_config"]["lower_is_better"] is False
    record(small, "sources", "2021-two")["paper"] = "2022-three"
    last = json.loads(export(Atlas(small), "results", "eee").splitlines()[-1])
    assert last["source_metadata"]["evaluator_relationship"] == "third_party"


@pytest.mark.parametrize(
    ("what", "format", "message"),
    [
        ("models", "xml", "no format 'xml': one of csv, json"),
        ("tasks", "bibtex", "holds papers: export papers or models, not tasks"),
        ("models", "eee", "holds results only"),
        ("atlas", "csv", "the whole catalogue is exported as json, not csv"),
        ("modles", "csv", "no kind 'modles'"),
    ],
)
def test_what_a_format_does_not_hold_is_refused(small_atlas, what, format, message):
    with pytest.raises(UserError, match=message):
        export(small_atlas, what, format)
    with pytest.raises(UserError, match="md is not read back"):
        read_export("", "md")


def test_an_empty_table_is_only_a_head(small_atlas):
    table = Table(["a", "b"], [])
    assert export(small_atlas, table, "csv") == "a,b\n"
    assert export(small_atlas, table, "jsonl") == ""
