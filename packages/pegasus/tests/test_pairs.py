"""Pairs of every layout, bad ones, TFRecord against a writer of its own, the counts of the real data."""

import gzip
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.errors import UserError
from nonet.testing import data_folder
from pegasus.crc32c import crc32c, masked
from pegasus.data_sets import DATA_SETS, Part, data_set
from pegasus.duplicates import find_duplicates, normalised
from pegasus.layouts import detect
from pegasus.pairs import Pair, PairReader, read_pairs
from pegasus.tfrecords import parse_example, read_tfrecords


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


LONG = "one two three four five six"


@pytest.mark.parametrize(
    ("fields", "document", "summary", "name"),
    [
        ({"document": LONG, "summary": "s", "id": "1"}, "document", "summary", ""),
        ({"article": LONG, "highlights": "s", "id": "1"}, "article", "highlights", "cnn_dailymail"),
        ({"text": LONG, "summary": "s", "title": "t"}, "text", "summary", ""),
        ({"inputs": LONG, "targets": "s"}, "inputs", "targets", ""),
        ({"text": LONG, "headline": "s", "title": "t"}, "text", "headline", "wikihow"),
        ({"documents": LONG, "tldr": "s", "title": "t", "ups": 3}, "documents", "tldr", "reddit_tifu"),
        ({"description": LONG, "abstract": "s"}, "description", "abstract", "big_patent"),
        ({"article": LONG, "abstract": "s", "section_names": "x"}, "article", "abstract", ""),
        ({"email_body": LONG, "subject_line": "s"}, "email_body", "subject_line", "aeslc"),
        ({"body": LONG, "subject": "s"}, "body", "subject", "aeslc"),
        ({"source": [LONG], "target": ["s"], "title": "t"}, "source", "target", "scitldr"),
        ({"id": 1, "title": "s", "abstract": LONG}, "abstract", "title", ""),
        ({"dialogue": LONG, "summary": "s", "topic": "x"}, "dialogue", "summary", ""),
    ],
)
def test_fields_are_found_by_their_names(tmp_path, fields, document, summary, name):
    reader = PairReader(write(tmp_path / "a.jsonl", fields))
    assert (reader.layout.document, reader.layout.summary, reader.layout.name) == (document, summary, name)
    assert [(pair.document, pair.summaries) for pair in reader] == [(LONG, ["s"])]
    assert f"document: {document!r}, summary: {summary!r}" in reader.describe()


@pytest.mark.parametrize("entry", DATA_SETS.values(), ids=lambda entry: entry.name)
def test_a_named_data_set_reads_its_own_fields(tmp_path, entry):
    path = write(tmp_path / "a.jsonl", {"title": "t", entry.document: LONG, entry.summary: "s"})
    reader = PairReader(path, dataset=entry.name)
    assert [pair.summaries for pair in reader] == [["s"]]
    assert reader.layout.rouge_l == ("rougeLsum" if entry.name == "cnn_dailymail" else "rougeL")


def test_the_table_of_data_sets():
    assert len(DATA_SETS) == 12
    assert {entry.paper.batch for entry in DATA_SETS.values()} == {256}
    assert [entry.name for entry in DATA_SETS.values() if entry.code.batch != 8] == ["gigaword"]
    aeslc = data_set("aeslc")
    assert (aeslc.paper.max_input, aeslc.paper.max_target, aeslc.alpha, aeslc.paper.steps) == (
        512,
        32,
        0.6,
        16_000,
    )
    with pytest.raises(UserError, match="no data set 'aslc'; did you mean 'aeslc'"):
        data_set("aslc")


def test_parts_of_splits_cover_everything_once():
    for name in ("reddit_tifu", "billsum"):
        parts = [data_set(name).part(part) for part in ("train", "validation", "test")]
        rows = [row for part in parts if part.of == "train" for row in part.rows(42_139)]
        assert rows == list(range(42_139))
    assert data_set("billsum").part("train").rows(18_949) == range(17_054)
    assert data_set("xsum").part("test") == Part("test")
    with pytest.raises(UserError, match="no split 'dev'; there are train, validation, test"):
        data_set("xsum").part("dev")


def test_named_fields_win_and_a_wrong_name_says_what_there_is(tmp_path):
    path = write(tmp_path / "a.jsonl", {"text": LONG, "summary": "s", "note": "n"})
    assert next(iter(PairReader(path, summary_field="note"))).summaries == ["n"]
    with pytest.raises(
        UserError, match=r"a.jsonl:1: no field 'corpus'; fields are text, summary, note: name one with --t"
    ):
        list(PairReader(path, text_field="corpus"))
    with pytest.raises(UserError, match="no field 'article', the document of cnn_dailymail"):
        list(PairReader(path, dataset="cnn_dailymail"))
    with pytest.raises(UserError, match="both field 'text'"):
        list(PairReader(path, text_field="text", summary_field="text"))
    with pytest.raises(UserError, match=r"no summary field; fields are text: name one with --summary-field"):
        detect({"text": LONG}, "a.jsonl:1")


def test_tables_and_packed_files_give_the_same_pairs(tmp_path):
    rows = [{"text": f"{LONG} {i}", "summary": f"s {i}"} for i in range(3)]
    (tmp_path / "a.csv").write_text(
        "text,summary\n" + "".join(f'"{r["text"]}",{r["summary"]}\n' for r in rows)
    )
    (tmp_path / "a.tsv").write_text(
        "summary\ttext\n" + "".join(f"{r['summary']}\t{r['text']}\n" for r in rows)
    )
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    wanted = [(row["text"], [row["summary"]]) for row in rows]
    for name in ("a.csv", "a.tsv", "a.json", "a.jsonl.gz", "a.parquet"):
        assert [(pair.document, pair.summaries) for pair in PairReader(tmp_path / name)] == wanted, name


def test_parallel_files_pair_up_line_by_line(tmp_path):
    (tmp_path / "test.source").write_text(f"{LONG}\n{LONG} b\n")
    (tmp_path / "test.target").write_text("s\nt\n")
    for end in ("source", "target"):
        pairs = list(PairReader(tmp_path / f"test.{end}"))
        assert [(pair.document, pair.summaries, pair.where.rpartition("/")[2]) for pair in pairs] == [
            (LONG, ["s"], "test.source:1"),
            (f"{LONG} b", ["t"], "test.source:2"),
        ]
    (tmp_path / "test.target").write_text("s\n\nt\n")
    with pytest.raises(UserError, match=r"test.source:2: field 'summary' is empty"):
        list(PairReader(tmp_path / "test.source"))
    with pytest.raises(UserError, match=r"test.source has 2 lines and .*test.target has 3"):
        list(PairReader(tmp_path / "test.source", skip_bad=True))
    (tmp_path / "val.source").write_text("x\n")
    with pytest.raises(UserError, match=r"other half val.target is not there"):
        PairReader(tmp_path / "val.source")
    with pytest.raises(UserError, match=r"has test.source, val.source; name the one"):
        PairReader(tmp_path)


def test_stack_exchange_style_names_are_parallel_files(tmp_path):
    (tmp_path / "a_src.txt").write_text(f"{LONG}\n")
    (tmp_path / "a_trg.txt").write_text("s\n")
    assert next(iter(PairReader(tmp_path / "a_src.txt"))).summaries == ["s"]


def test_aeslc_subject_files(tmp_path):
    (tmp_path / "b_2.subject").write_text("Hi.\nCall me\nby ten please.\n\n@subject\nCall\n")
    (tmp_path / "a_1.subject").write_text(
        "Hello Bob,\nwe meet at noon.\n\nlost part\n\n@subject\nMeeting\n\n"
        "@ann0\nNoon\n\n@ann1\nmeet up\n\n@ann2\nx\n"
    )
    pairs = list(PairReader(tmp_path))
    assert pairs[0].document == "Hello Bob,\nwe meet at noon."
    assert pairs[0].sentences == ["Hello Bob,", "we meet at noon."]
    assert (pairs[0].summaries, pairs[0].where) == (["Meeting"], str(tmp_path / "a_1.subject"))
    assert pairs[1].document == "Hi.\nCall me\nby ten please."
    assert [pair.summaries for pair in PairReader(tmp_path, annotations=True)] == [
        ["Meeting", "Noon", "meet up", "x"],
        ["Call"],
    ]


def test_lists_are_sentences_of_documents_and_references_of_summaries(tmp_path):
    row = {"source": ["One two.", "Three four\n"], "target": ["a b", "", "c"], "title": "T"}
    pair = next(iter(PairReader(write(tmp_path / "a.jsonl", row))))
    assert pair == Pair(
        "One two. Three four", ["a b", "c"], f"{tmp_path / 'a.jsonl'}:1", row["source"], 0, "T"
    )
    joined = next(iter(PairReader(tmp_path / "a.jsonl", summary_list="sentences", longer="count")))
    assert joined.summaries == ["a b\n\nc"]


BAD = {
    "no field 'summary'": {"text": LONG},
    "field 'summary' is empty": {"text": LONG, "summary": " \n"},
    "field 'text' is empty": {"text": None, "summary": "s"},
    "field 'text' is a dict, neither a text nor a list of texts": {"text": {}, "summary": "s"},
    r"the summary 'summary' \(6 words\) is longer than the document 'text' \(1\)": {
        "text": "s",
        "summary": LONG,
    },
}


@pytest.mark.parametrize("what", BAD)
def test_bad_pairs_stop_with_line_and_field_or_are_counted(tmp_path, what):
    good = {"text": LONG, "summary": "s"}
    path = write(tmp_path / "a.jsonl", good, BAD[what], good)
    with pytest.raises(UserError, match=f"a.jsonl:2: {what}"):
        list(PairReader(path))
    reader = PairReader(path, skip_bad=True)
    assert [pair.number for pair in reader] == [0, 2]
    assert reader.counts["skipped"] == 1
    assert sum(reader.skipped.values()) == 1
    assert "a.jsonl:2" in reader.skipped_examples[0]
    assert "2 pairs; 1 skipped" in reader.describe()
    assert len(list(reader)) == 2  # again, with fresh counts
    assert reader.counts["skipped"] == 1


def test_broken_lines_are_skipped_as_well(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a b", "summary": "s"}\n{"text"\n')
    with pytest.raises(UserError, match=r"a.jsonl:2: not valid JSON"):
        list(PairReader(tmp_path / "a.jsonl"))
    reader = PairReader(tmp_path / "a.jsonl", skip_bad=True)
    assert len(list(reader)) == 1
    assert reader.skipped == {"cannot be read": 1}


def test_a_longer_summary_can_be_counted_only(tmp_path):
    reader = PairReader(write(tmp_path / "a.jsonl", {"text": "s", "summary": LONG}), longer="count")
    assert len(list(reader)) == 1
    assert reader.counts["longer"] == 1
    assert "1 summaries longer" in reader.account()


def test_limit_takes_the_first_good_pairs(tmp_path):
    rows = [{"text": LONG, "summary": f"s{i}" if i != 1 else ""} for i in range(5)]
    reader = read_pairs([write(tmp_path / "a.jsonl", *rows)], limit=2, skip_bad=True)
    assert [pair.summaries for pair in reader] == [["s0"], ["s2"]]
    assert reader.counts["records"] == 3
    with pytest.raises(UserError, match="limit is 0"):
        PairReader(tmp_path / "a.jsonl", limit=0)


def test_inputs_that_are_no_pairs(tmp_path):
    (tmp_path / "a.txt").write_text("just text\n")
    with pytest.raises(UserError, match="plain text has no fields"):
        PairReader(tmp_path / "a.txt")
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(UserError, match="no records; is this the right file"):
        list(PairReader(tmp_path / "a.jsonl"))
    with pytest.raises(UserError, match=r"different kinds \(TFRecord, records\)"):
        PairReader([tmp_path / "a.jsonl", tmp_path / "a.tfrecord"])
    with pytest.raises(UserError, match=r"b.tfrecord: no such file"):
        PairReader(tmp_path / "b.tfrecord")
    with pytest.raises(UserError, match="no input"):
        PairReader([])


# --------------------------------------------------------------------------------------------------- TFRecord


def crc_by_bits(data: bytes) -> int:
    """CRC-32C by its definition: one bit at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def varint(value: int) -> bytes:
    value %= 2**64
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def part(number: int, data: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(data)) + data


def example(**features) -> bytes:
    """A tf.train.Example, as the protocol buffer documentation has it."""
    entries = b""
    for name, values in features.items():
        if isinstance(values[0], str):
            listing = part(1, b"".join(part(1, value.encode()) for value in values))
        elif isinstance(values[0], float):
            listing = part(2, part(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            listing = part(3, part(1, b"".join(map(varint, values))))
        entries += part(1, part(1, name.encode()) + part(2, listing))
    return part(1, entries)


def frame(data: bytes) -> bytes:
    def masked(block: bytes) -> bytes:
        crc = crc_by_bits(block)
        return struct.pack("<I", ((crc >> 15 | crc << 17) % 2**32 + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


@given(st.binary(max_size=60))
def test_crc_is_that_of_its_definition(data):
    assert crc32c(data) == crc_by_bits(data)


def test_crc_of_the_published_example_and_of_a_length_that_tensorflow_wrote():
    assert crc32c(b"123456789") == 0xE3069283
    assert masked(crc32c(struct.pack("<Q", 62))) == 0xE740D2D9


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.one_of(
            st.lists(st.text(max_size=20), min_size=1, max_size=4),
            st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
            st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
        ),
        max_size=4,
    )
)
def test_examples_come_back_as_they_were_written(features):
    wanted = {name: values[0] if len(values) == 1 else values for name, values in features.items()}
    assert parse_example(example(**features)) == wanted


def test_pairs_from_tfrecord_files_packed_or_not(tmp_path):
    data = b"".join(frame(example(inputs=[f"{LONG} {i}"], targets=[f"s {i}"])) for i in range(3))
    (tmp_path / "a.tfrecord-00000-of-00002").write_bytes(data)
    (tmp_path / "a.tfrecord-00001-of-00002").write_bytes(gzip.compress(data))
    pairs = list(PairReader(tmp_path))
    assert [pair.summaries[0] for pair in pairs] == ["s 0", "s 1", "s 2"] * 2
    assert pairs[4].where.endswith("a.tfrecord-00001-of-00002:record 2")
    assert pairs[4].number == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "record 2: the file ends inside a record"),
        (lambda data: data[: len(data) // 2 + 5], "record 2: the file ends inside a record"),
        (lambda data: b"\x01" + data[1:], "record 1: the length does not fit its checksum"),
        (lambda data: data[:20] + b"\xff" + data[21:], "record 1: the data do not fit their checksum"),
        (lambda data: frame(b"\x0a\xff"), "record 1: not a tf.train.Example"),
    ],
)
def test_damaged_tfrecord_files_are_refused(tmp_path, change, message):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(change(frame(example(inputs=[LONG], targets=["s"])) * 2))
    with pytest.raises(UserError, match=message):
        list(read_tfrecords(path))


# ------------------------------------------------------------------------------------------------- duplicates


def test_duplicates_by_hand():
    train = ["Hi, Bob!", "same", "same", "..."]
    found = find_duplicates(train, ["hi bob", "same", "Same!", "other", "...", "!!!"])
    assert (found.repeated, found.exact, found.normalised) == (1, [1, 4], [0, 2])
    assert "2 are in the training set exactly, 2 more" in found.describe()
    assert normalised("  ...  ") == "..."


# ---------------------------------------------------------------------------------------------- the real data


@pytest.mark.parametrize(
    ("split", "pairs", "references", "body_words", "subject_words"),
    [
        ("train", 14_436, 14_436, 118.2, 4.0),
        ("dev", 1_960, 7_840, 124.5, 4.1),
        ("test", 1_906, 7_624, 114.6, 4.1),
    ],
)
def test_aeslc_has_the_counts_of_its_authors(split, pairs, references, body_words, subject_words):
    reader = PairReader(data_folder("aeslc", f"{split}.jsonl"), annotations=True)
    found = list(reader)
    assert (reader.layout.name, len(found), reader.counts["references"]) == ("aeslc", pairs, references)
    assert sum(len(pair.document.split()) for pair in found) / pairs == pytest.approx(body_words, abs=0.05)
    assert sum(len(pair.summaries[0].split()) for pair in found) / pairs == pytest.approx(
        subject_words, abs=0.05
    )
    assert all("\n".join(pair.sentences) == pair.document for pair in found)


def test_aeslc_duplicates():
    train = [pair.document for pair in PairReader(data_folder("aeslc", "train.jsonl"))]
    for split, count in (("dev", 10), ("test", 8)):
        found = find_duplicates(
            train, (pair.document for pair in PairReader(data_folder("aeslc", f"{split}.jsonl")))
        )
        assert (found.repeated, len(found.exact), len(found.normalised)) == (913, 0, count)


@pytest.mark.parametrize(
    ("split", "pairs", "references", "sentences", "words"),
    [("train", 1_992, 1.0, 7.2, 158.7), ("dev", 619, 2.35, 7.3, 159.0), ("test", 618, 3.18, 7.9, 162.0)],
)
def test_scitldr_has_the_counts_of_its_authors(split, pairs, references, sentences, words):
    found = list(PairReader(data_folder("scitldr", f"{split}.jsonl")))
    assert len(found) == pairs
    assert sum(len(pair.summaries) for pair in found) / pairs == pytest.approx(references, abs=0.005)
    assert sum(len(pair.sentences) for pair in found) / pairs == pytest.approx(sentences, abs=0.05)
    assert sum(len(pair.document.split()) for pair in found) / pairs == pytest.approx(words, abs=0.05)
    assert all(pair.title for pair in found)
