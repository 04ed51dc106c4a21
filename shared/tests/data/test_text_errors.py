"""What is wrong with users' files is said in one line that names the file, the place and the remedy."""

import gzip

import pytest
import zstandard

from nonet.data.text import Record, TextReader, read_records
from nonet.errors import UserError


def says(tmp_path, name, content, match, *, before=0, **options):
    """Reading `content` gives `before` records, then one line that matches; skipping it counts one."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = []
    with pytest.raises(UserError, match=match) as caught:
        found.extend(read_records(path, **options))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    reader = TextReader(path, on_bad="skip", **options)
    skipped_over = list(reader)
    assert reader.counts["skipped"] == sum(reader.skipped.values()) >= 1
    assert reader.skipped_examples[0] == str(caught.value)
    assert len(skipped_over) >= before
    return skipped_over


def test_broken_json_names_the_line_and_the_character(tmp_path):
    good = '{"a": 1}\n'
    left = says(
        tmp_path,
        "a.jsonl",
        good + '{"a": 1,}\n' + good,
        r"a.jsonl:2: not valid JSON \(.* at character \d+\); mend",
    )
    assert [record.where[-1] for record in left] == ["1", "3"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [("[1]", "list"), ('"x"', "string"), ("3", "number"), ("null", "null"), ("true", "truth value")],
)
def test_json_that_is_no_object_is_named_by_its_kind(tmp_path, value, kind):
    says(tmp_path, "a.jsonl", '{"a": 1}\n' + value, f"a.jsonl:2: a JSON {kind}, not an object")
    says(tmp_path, "a.json", "[\n" + value + "]", f"a.json:2: a JSON {kind}, not an object")


def test_a_json_list_named_jsonl_is_recognised(tmp_path):
    says(tmp_path, "a.jsonl", '[\n{"a": 1}\n]', r"a.jsonl:1: .*one JSON list: name the file \.json")


def test_json_nested_beyond_reason_is_an_error_of_its_line(tmp_path):
    says(
        tmp_path, "a.jsonl", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "a.jsonl:1: .*nested too deeply"
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('[{"a": 1},\n {"a": }]', "a.json:2: record 2 is not valid JSON"),
        ('[{"a": 1},\n\n {"a": 2', "a.json:3: record 2 begins here and does not end"),
        ('[{"a": 1}\n {"a": 2}]', r"a.json:2: a comma or \] should follow record 1"),
        ('[{"a": 1},\n{"a": 2}', r"a.json:2: a comma or \] should follow record 2, but the file ends"),
        ("[", "a.json:1: a list that does not end"),
        ('[{"a": 1}]\n{"a": 2}', "a.json:2: text after the end of the list"),
        ('{"a": "never closed}', "a.json:1: record 1 begins here and does not end"),
    ],
)
def test_broken_json_files_name_the_line_and_the_record(tmp_path, content, match):
    says(tmp_path, "a.json", content, match)


def test_rows_with_too_many_or_too_few_cells_name_both_counts(tmp_path):
    left = says(
        tmp_path,
        "a.csv",
        "id,text\n1,a\n2,b,c\n3\n4,d\n",
        r"a.csv:3: 3 cells, but the header names 2 \(id, text\)",
    )
    assert [record.fields["id"] for record in left] == ["1", "4"]
    says(tmp_path, "b.tsv", "id\ttext\n1\n", "b.tsv:2: 1 cells, but the header names 2 .* tsv-quoted")


def test_a_quote_that_never_closes_names_the_line_it_begins_on(tmp_path):
    says(tmp_path, "a.csv", 'id,text\n1,a\n2,"b\n3,c\n', "a.csv:3: a row that cannot be read", before=1)
    left = says(tmp_path, "b.csv", 'id,text\n1,"a"b\n2,c\n', "b.csv:2: a row that cannot be read")
    assert [record.fields["id"] for record in left] == ["2"]


def test_a_header_that_repeats_a_name_is_refused(tmp_path):
    says(tmp_path, "a.csv", "id,text,id\n1,2,3\n", "a.csv:1: the header names 'id' more than once")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_that_ends_too_early_names_the_line(tmp_path, suffix):
    plain = "".join(f'{{"n": {n}, "noise": "{n * 7919 % 104729}"}}\n' for n in range(5000)).encode()
    data = gzip.compress(plain) if suffix == ".gz" else zstandard.compress(plain)
    left = says(
        tmp_path,
        "a.jsonl" + suffix,
        data[: len(data) // 2],
        r"a.jsonl\S*:\d+: the \w+ data ends too early; copy or",
    )
    assert [record.fields["n"] for record in left] == list(range(len(left)))
    says(tmp_path, "b.jsonl" + suffix, b"plain text", r"b.jsonl\S*:1: not sound \w+ data")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("text".encode("utf-16"), "UTF-16 text; convert it: iconv"),
        (gzip.compress(b"x", mtime=0), r"the content is \.gz data; give"),  # no time in the name
        (zstandard.compress(b"x"), r"the content is \.zst data; give"),
        (b"PAR1....", r"the content is \.parquet data; give"),
    ],
)
def test_content_that_is_no_text_is_recognised(tmp_path, content, match):
    says(tmp_path, "a.txt", content, "a.txt:1: " + match)
    says(tmp_path, "b.txt", content, "b.txt:1: " + match, unit="file")


def test_damaged_parquet_is_one_line(tmp_path):
    pytest.importorskip("pyarrow")
    says(
        tmp_path,
        "a.parquet",
        b"PAR1 and then something else",
        "a.parquet:row 1: Parquet data that cannot be read",
    )


@pytest.mark.parametrize(
    ("make", "path", "match"),
    [
        ([], "gone.txt", r"gone\.txt: no such file or folder; check the path"),
        ([], "*.txt", r"\*\.txt: no file matches this pattern"),
        (
            ["folder/.hidden.txt", "folder/a.md"],
            "folder",
            r"folder: no file in this folder can be read; known suffixes are \.jsonl, .*\.parquet",
        ),
        (["folder/a.md"], "fol*", r"fol\*: no file that matches can be read"),
        (["a.md"], "a.md", r"a\.md: unknown suffix; known are \.jsonl.*\.gz or \.zst"),
        (["plain"], "plain", "plain: unknown suffix"),
        (["a.parquet.gz"], "a.parquet.gz", "Parquet is compressed inside; unpack the .gz"),
    ],
)
def test_paths_that_lead_nowhere_are_refused_before_any_work(tmp_path, make, path, match):
    for name in make:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match=match):
        TextReader(tmp_path / path)


def test_arguments_are_checked_before_any_work(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for options, match in [
        ({"unit": "page"}, "unknown unit 'page'; choose one of line, paragraph, file, wikitext"),
        ({"format": "xml"}, "unknown format 'xml'; choose one of jsonl"),
        ({"encoding": "latin-17"}, "unknown encoding 'latin-17'"),
        ({"encoding": "utf-16"}, "encoding 'utf-16' cannot be read here; convert"),
    ]:
        with pytest.raises(UserError, match=match):
            TextReader(tmp_path / "a.txt", **options)
    with pytest.raises(UserError, match="no input"):
        TextReader([])
    with pytest.raises(UserError, match="Parquet has to be read from a file"):
        TextReader("-", format="parquet")


def test_a_missing_field_names_the_fields_there_are_and_the_option():
    record = Record({"id": 1, "text": None, "body": ["a", "b"]}, "mails.jsonl:12")
    match = r"^mails.jsonl:12: no field 'subject'; fields are id, text, body: name one with --text-field$"
    with pytest.raises(UserError, match=match):
        record.field("subject", option="--text-field")
    assert record.text("body") == "a b"
    assert record.text("body", join="\n") == "a\nb"
    with pytest.raises(UserError, match=r"field 'text' is empty \(null\)"):
        record.text("text")
    with pytest.raises(UserError, match="field 'id' is a int"):
        record.text("id")
