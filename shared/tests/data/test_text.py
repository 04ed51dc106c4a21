"""Reading records: every format against what was written, packed and not, in constant memory."""

import csv
import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from random import Random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.data import text_decoding
from nonet.data.text import TextReader, read_records
from nonet.data.text_decoding import lines
from nonet.testing import data_folder


def pack(path, data):
    """Write bytes the way the suffix asks for; two gzip members and two zstd frames, as `cat` makes them."""
    half = len(data) // 2
    if path.suffix == ".gz":
        data = gzip.compress(data[:half]) + gzip.compress(data[half:])
    elif path.suffix == ".zst":
        data = zstandard.compress(data[:half]) + zstandard.compress(data[half:])
    path.write_bytes(data)
    return path


def texts(paths, **options):
    return [record.fields["text"] for record in read_records(paths, **options)]


def places(paths, **options):
    return [record.where.rpartition("/")[2] for record in read_records(paths, **options)]


RECORDS = [{"id": n, "text": f"d\u00e9j\u00e0 {n}", "parts": ["a", "b"]} for n in range(700)]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("block", [3, 1 << 18])
def test_json_lines_come_back_whatever_the_packing_and_the_blocks(tmp_path, monkeypatch, packing, block):
    monkeypatch.setattr(text_decoding, "BLOCK", block)
    monkeypatch.setattr(text_decoding, "PACKED_BLOCK", block)
    data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in RECORDS[:60]).encode()
    path = pack(tmp_path / f"a.jsonl{packing}", data)
    reader = TextReader(path)
    assert [record.fields for record in reader] == RECORDS[:60]
    assert reader.counts["bytes"] == len(data)
    assert reader.bytes_read == reader.total_bytes == path.stat().st_size
    assert reader.counts["invalid_utf8"] == 0


def test_places_are_file_and_line_and_blank_lines_count_as_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n  \n{"a": 2}')
    assert places(tmp_path / "a.jsonl") == ["a.jsonl:1", "a.jsonl:4"]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("shape", ["list", "stream"])
def test_a_json_file_is_a_list_or_a_stream_of_objects(tmp_path, monkeypatch, indent, shape):
    monkeypatch.setattr(text_decoding, "BLOCK", 7)
    tricky = [{"text": 'braces } ] " \\ \\" {', "n": n, "deep": {"x": [[], {}, [n]]}} for n in range(20)]
    whole = json.dumps(tricky, indent=indent)
    (tmp_path / "a.json").write_text(
        whole if shape == "list" else "\n".join(json.dumps(t, indent=indent) for t in tricky)
    )
    found = list(read_records(tmp_path / "a.json"))
    assert [record.fields for record in found] == tricky
    assert found[7].where.endswith("a.json:record 8")


@pytest.mark.parametrize("content", ["[]", " [ ] \n", "", "\n"])
def test_an_empty_json_list_or_file_has_no_records(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    assert list(read_records(tmp_path / "a.json")) == []


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_csv_that_the_csv_module_wrote_comes_back(tmp_path_factory, rows, newline):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert [list(record.fields.values()) for record in read_records(path)] == rows


def test_csv_places_count_the_lines_inside_quotes(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"two\nlines"\n\n2,"a ""b"", c"\n')
    found = list(read_records(tmp_path / "a.csv"))
    assert [record.fields for record in found] == [
        {"id": "1", "text": "two\nlines"},
        {"id": "2", "text": 'a "b", c'},
    ]
    assert places(tmp_path / "a.csv") == ["a.csv:2", "a.csv:5"]


def test_a_cell_may_be_longer_than_the_csv_module_allows(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + "x" * 200_000 + "\n")
    assert len(texts(tmp_path / "a.csv")[0]) == 200_000


def test_quotes_in_tsv_are_ordinary_unless_the_format_says_quoted(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tn\n"he said\t1\n"a b"\t2\n')
    assert texts(tmp_path / "a.tsv") == ['"he said', '"a b"']
    (tmp_path / "b.tsv").write_text('text\tn\n"a\tb"\t1\n')
    assert texts(tmp_path / "b.tsv", format="tsv-quoted") == ["a\tb"]


def test_parquet_rows_come_back_across_row_groups(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet", row_group_size=300)
    reader = TextReader(tmp_path / "a.parquet")
    found = list(reader)
    assert [record.fields for record in found] == RECORDS
    assert found[699].where.endswith("a.parquet:row 700")
    assert reader.bytes_read == reader.total_bytes


def test_parquet_strings_that_are_not_utf8_are_mended_and_counted(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    raw = pa.array([b"good", b"b\xffad", None, b"n\0ul"], pa.binary())
    bad = pa.StringArray.from_buffers(4, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    reader = TextReader(tmp_path / "a.parquet")
    assert [record.fields["text"] for record in reader] == ["good", "b\ufffdad", None, "nul"]
    assert (reader.counts["invalid_utf8"], reader.counts["nul"]) == (1, 1)


def test_units_of_plain_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n \n\nthree\n")
    assert texts(path) == ["one", "two", "three"]
    assert places(path) == ["a.txt:1", "a.txt:2", "a.txt:5"]
    assert texts(path, keep_blank=True) == ["one", "two", " ", "", "three"]
    assert texts(path, unit="paragraph") == ["one\ntwo", "three"]
    assert places(path, unit="paragraph") == ["a.txt:1", "a.txt:5"]
    assert texts(path, unit="file") == ["one\ntwo\n \n\nthree"]
    assert places(path, unit="file") == ["a.txt"]


def test_wikitext_articles_begin_at_titles_between_blank_lines(tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text(
        "stray\n\n = First = \n \n Text . \n \n = = Section = = \n \n x = 1 \n = not a title = \n more \n \n"
        " = A = B = \n\n body\n\n = C = "
    )
    found = list(read_records(path, unit="wikitext", keep_blank=True))
    assert [record.fields["title"] for record in found] == ["", "First", "A = B", "C"]
    assert [record.fields["text"] for record in found] == [
        "stray",
        "Text .\n= = Section = =\nx = 1\n= not a title =\nmore",
        "body",
        "",
    ]
    assert places(path, unit="wikitext") == ["wiki.txt:1", "wiki.txt:3", "wiki.txt:13"]


def test_real_wikitext_has_its_articles():
    valid, test = data_folder("wikitext-2", "valid.txt"), data_folder("wikitext-2", "test.txt")
    found = {path.name: list(read_records(path, unit="wikitext")) for path in (valid, test)}
    assert {name: len(records) for name, records in found.items()} == {"valid.txt": 60, "test.txt": 60}
    assert found["valid.txt"][0].fields["title"] == "Homarus gammarus"


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab\n\r"), max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_lines_are_those_of_universal_newlines_however_the_text_is_cut(text, cuts):
    cuts = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    assert list(lines(pieces)) == expected


def test_only_newlines_end_a_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("a\x0bb\x0cc\u2028d\x85e\r\nf\rg".encode())
    assert texts(tmp_path / "a.txt") == ["a\x0bb\x0cc\u2028d\x85e", "f", "g"]


@pytest.mark.parametrize("block", [1, 2, 5, 1 << 18])
def test_bad_bytes_are_replaced_and_counted_and_good_ones_are_not(tmp_path, monkeypatch, block):
    monkeypatch.setattr(text_decoding, "BLOCK", block)
    (tmp_path / "a.txt").write_bytes(
        b"\xef\xbb\xbfgood \xef\xbf\xbd \xc3\xa9\nbad \xff \xe2\x82 \0nul\0\n\xe2"
    )
    reader = TextReader(tmp_path / "a.txt")
    assert [record.fields["text"] for record in reader] == [
        "good \ufffd \u00e9",
        "bad \ufffd \ufffd nul",
        "\ufffd",
    ]
    assert (reader.counts["invalid_utf8"], reader.counts["nul"]) == (3, 2)


def test_json_cannot_smuggle_in_what_utf8_cannot_hold(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"text": "a\u0000b \ud83d\ude00 \ud800 c", "l": ["\udfff"]}' + "\n")
    reader = TextReader(tmp_path / "a.jsonl")
    (record,) = reader
    assert record.fields == {"text": "ab \U0001f600 \ufffd c", "l": ["\ufffd"]}
    assert (reader.counts["invalid_utf8"], reader.counts["nul"]) == (2, 1)


def test_other_encodings_that_contain_ascii_can_be_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("caf\u00e9\r\n\u00fcber".encode("latin-1"))
    assert texts(tmp_path / "a.txt", encoding="latin1") == ["caf\u00e9", "\u00fcber"]


def test_folders_are_read_in_sorted_order_at_every_depth_without_hidden_and_unknown_files(tmp_path):
    for name in ["b.txt", "a/z.txt", "a/.hidden.txt", ".git/x.txt", "a/c/y.TXT", "readme.md", "d.jsonl"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "json"}' if name.endswith("jsonl") else name)
    reader = TextReader([tmp_path])
    assert [record.fields["text"] for record in reader] == ["a/c/y.TXT", "a/z.txt", "b.txt", "json"]
    assert (reader.counts["files"], reader.counts["ignored_files"]) == (4, 1)
    assert texts(str(tmp_path / "**")) == ["a/c/y.TXT", "a/z.txt", "b.txt", "json"]
    assert texts([tmp_path / "a" / "*.txt", tmp_path / "b.txt"]) == ["a/z.txt", "b.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    (tmp_path / "a[1].txt").write_text("one")
    assert texts(tmp_path / "a[1].txt") == ["one"]


def test_a_format_can_be_named_for_any_suffix(tmp_path):
    (tmp_path / "train.source").write_text("one\n\ntwo\n")
    assert texts(tmp_path / "train.source", format="text", keep_blank=True) == ["one", "", "two"]


def test_a_reader_can_be_read_twice_and_counts_anew(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\n")
    reader = TextReader([tmp_path / "a.txt"])
    for _ in range(2):
        assert len(list(reader)) == 2
        assert (reader.counts["records"], reader.counts["blank"], reader.bytes_read) == (2, 1, 9)


def test_standard_input_is_text_unless_a_format_is_named():
    code = "import sys; from nonet.data.text import read_records; "
    code += "print([tuple(record) for record in read_records('-', format=sys.argv[1] or None)])"
    for format, data, expected in [
        (
            "",
            "one\ntwo",
            "[({'text': 'one'}, 'stdin:1'), ({'text': 'two'}, 'stdin:2')]",
        ),
        ("jsonl", '{"a": 1}', "[({'a': 1}, 'stdin:1')]"),
    ]:
        run = subprocess.run(
            [sys.executable, "-c", code, format], input=data, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize("suffix", [".txt.gz", ".jsonl.zst", ".json", ".csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    random = Random(0)
    rows = [f"{random.getrandbits(640):x}" for _ in range(50_000)]  # 8 MB that pack badly
    objects = [json.dumps({"text": row}) for row in rows]
    content = {
        ".txt.gz": "\n".join(rows),
        ".jsonl.zst": "\n".join(objects),
        ".json": "[" + ",".join(objects) + "]",
        ".csv": "\n".join(["text", *rows]),
    }[suffix]
    path = pack(tmp_path / f"a{suffix}", content.encode())
    del content, rows, objects
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_records(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert peak < 3 << 20
