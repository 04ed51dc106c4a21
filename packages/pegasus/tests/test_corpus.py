"""What becomes of single documents: kept, cut in parts, or left out and counted."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonet.data.text import Record
from nonet.errors import UserError
from pegasus.corpus import Encoder, Source, batches, check_sources, meta, source, unique_only
from pegasus.options import CorpusOptions, GapOptions, WordOptions
from pegasus.sentences import split_sentences

REPORT = "The flood closed the harbour. People spoke of the water. The river was high. Shops opened late."


@pytest.fixture
def encode(toy_tokenizer):
    """A function of texts and options that gives the rows and the counts."""

    def run(*texts, words=None, gaps=None, first=0, **corpus):
        encoder = Encoder(
            toy_tokenizer[0], words or WordOptions(), gaps or GapOptions(), CorpusOptions(**corpus), seed=0
        )
        sources = [Source(text, f"corpus.txt:{number}") for number, text in enumerate(texts, 1)]
        found = encoder((first, sources))
        assert found.consumed == len(texts)
        return found.rows, found.counts

    return run


def sentences_of(row, tokenizer):
    starts = [0, *row["ends"][:-1].tolist()]
    return [
        tokenizer.decode(row["pieces"][i:j].tolist())
        for i, j in zip(starts, row["ends"].tolist(), strict=True)
    ]


def skipped(counts):
    return {name.removeprefix("skipped: "): n for name, n in counts.items() if name.startswith("skipped")}


# ----------------------------------------------------------- one document


def test_a_row_holds_the_sentences_words_and_the_selection(encode, toy_tokenizer):
    tokenizer = toy_tokenizer[0]
    (row,), counts = encode(REPORT, first=41)
    wanted = [sentence.strip() for sentence in split_sentences(REPORT)]
    assert sentences_of(row, tokenizer) == wanted
    assert row["pieces"].tolist() == [i for sentence in wanted for i in tokenizer.encode(sentence)]
    # flood closed harbour | people spoke water | river high | shops opened late: no stop-words, all once
    assert row["words"].tolist() == list(range(11))
    assert row["word_ends"].tolist() == [3, 6, 8, 11]
    assert row["chosen"].tolist() == [3]  # nothing overlaps: the later of equals
    assert row["record"].tolist() == [41]
    assert {name: value.dtype.name for name, value in row.items()} == {
        "pieces": "int32", "ends": "int32", "words": "int32", "word_ends": "int32", "chosen": "int32",
        "record": "int64",
    }  # fmt: skip
    assert counts == Counter({"documents": 1, "parts kept": 1, "parts of long documents": 0})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no text"),
        (" \n\t ", "no text"),
        ([], "no text"),
        (["", "  "], "no text"),
        ("One sentence.", "fewer than 3 sentences"),
        ("One sentence. Two sentences.", "fewer than 3 sentences"),
        ("a giant sentence without any terminator " * 50, "fewer than 3 sentences"),
        ("... !!! ??? ... !!!", "no words"),
        ("- . - . - . -", "no words"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(encode, text, reason):
    rows, counts = encode(REPORT, text, REPORT)
    assert [row["record"][0] for row in rows] == [0, 2]
    assert skipped(counts) == {reason: 1}


def test_two_sentences_can_be_asked_for(encode):
    (row,), counts = encode("One flood. Two floods.", min_sentences=2)
    assert len(row["ends"]) == 2
    assert len(row["chosen"]) == 1  # max(1, int(2 * 0.3))
    assert not skipped(counts)


def test_short_targets_can_be_left_out(encode):
    rows, counts = encode(REPORT, "Yes. No. " + REPORT + " Oh. Ah.", min_target=6,
                          gaps=GapOptions(strategy="lead", ratio=0.01))  # fmt: skip
    assert [row["record"][0] for row in rows] == [0]
    assert skipped(counts) == {"fewer than 6 target tokens": 1}


@given(st.lists(st.sampled_from(["", " ", REPORT, "One.", "a b. c d. e f! ", ". . .", "x\n\ny", "\x00"])))
def test_every_document_is_kept_or_counted(toy_tokenizer, texts):
    encoder = Encoder(toy_tokenizer[0], WordOptions(), GapOptions(), CorpusOptions(chunk=16))
    found = encoder((0, [Source(text, "x") for text in texts]))
    parts = len(texts) + found.counts["parts of long documents"]
    assert found.counts["parts kept"] + sum(skipped(found.counts).values()) == parts
    assert found.counts["parts kept"] == len(found.rows)
    for row in found.rows:
        ends = np.concatenate([[0], row["ends"]])
        assert sum(ends[i + 1] - ends[i] for i in row["chosen"]) > 0  # never an empty target


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_all_kinds_of_line_ends_are_the_same_document(encode, newline):
    text = f"One flood.{newline}Two floods here.{newline}Three{newline}floods."
    (row,), _ = encode(text)
    (wanted,), _ = encode(text.replace(newline, "\n"))
    assert row["pieces"].tolist() == wanted["pieces"].tolist()
    assert len(row["ends"]) == 3


def test_reserved_names_in_a_text_stay_text(encode, toy_tokenizer):
    tokenizer = toy_tokenizer[0]
    names = "<mask_1> <mask_2> <pad> </s> <unk> <unk_7> <n> [SEP]"
    text = f"The flood of {names} came. Floods {names} closed the harbour. Water! {names}"
    (row,), _ = encode(text)
    assert row["pieces"].min() >= 105
    assert tokenizer.ids.newline not in row["pieces"]
    assert " ".join(sentences_of(row, tokenizer)) == text
    assert len(row["ends"]) == 4  # [SEP] does not split


def test_a_list_is_the_documents_sentences(encode, toy_tokenizer):
    given = ["The flood. It came.", "  Water was high ", "", "Nobody spoke"]
    (row,), _ = encode(given, REPORT)[0][:1], None
    assert sentences_of(row, toy_tokenizer[0]) == [
        "The flood. It came.",
        "Water was high",
        "",
        "Nobody spoke",
    ]


# ----------------------------------------------------------- long documents


def test_long_documents_are_cut_at_sentence_ends_and_lose_nothing(encode, toy_tokenizer, toy_reports):
    tokenizer = toy_tokenizer[0]
    text = " ".join(report.text for report in toy_reports[:12])
    (whole,), _ = encode(text, chunk=0)
    rows, counts = encode(text, chunk=100)
    assert counts["parts of long documents"] == len(rows) - 1 > 3
    assert counts["documents"] == 1
    assert max(len(row["pieces"]) for row in rows) <= 100
    assert np.concatenate([row["pieces"] for row in rows]).tolist() == whole["pieces"].tolist()
    joined = [sentence for row in rows for sentence in sentences_of(row, tokenizer)]
    assert joined == [sentence.strip() for sentence in split_sentences(text)]
    for row, after in pairwise(rows):  # no part could have taken one more sentence
        assert len(row["pieces"]) + after["ends"][0] > 100


def test_a_sentence_longer_than_a_part_is_a_part_of_its_own(encode):
    long = "flood " * 60 + "came. "
    rows, counts = encode(f"One flood. Two floods. Three floods. {long}Four floods. Five floods. Six floods.",
                          chunk=32, min_sentences=1)  # fmt: skip
    assert [len(row["ends"]) for row in rows] == [3, 1, 3]
    assert len(rows[1]["pieces"]) > 32
    assert counts["parts kept"] == 3


def test_parts_that_are_too_short_are_counted(encode):
    rows, counts = encode(f"{REPORT} {REPORT} {'harbour ' * 40}.", chunk=64)
    assert skipped(counts) == {
        "part of fewer than 3 sentences": 1 + counts["parts of long documents"] - len(rows)
    }
    assert rows


def test_documents_of_very_many_words_are_cut_though_kept_whole(encode):
    text = " ".join(f"Flood number {i} came here." for i in range(30))  # 5 words a sentence
    rows, counts = encode(text, chunk=0, max_words=50)
    assert [len(row["ends"]) for row in rows] == [10, 10, 10]
    assert counts["parts of long documents"] == 2


# ----------------------------------------------------------- sources


def test_the_text_is_the_first_known_field_or_the_one_named():
    record = Record({"id": 3, "body": "b", "article": "a"}, "mails.jsonl:12")
    assert source(record, None) == Source("a", "mails.jsonl:12")
    assert source(record, "body").text == "b"
    assert source(Record({"text": ["a", "b"]}, "x"), None).text == ["a", "b"]
    with pytest.raises(
        UserError, match=r"^mails.jsonl:12: no field 'txt'; fields are id, body, article: name"
    ):
        source(record, "txt")
    with pytest.raises(UserError, match=r"^x: no text field; fields are none: name one with --text-field$"):
        source(Record({}, "x"), None)
    for value in (3, None, ["a", 1], {"a": 1}):
        with pytest.raises(UserError, match=r"^x: field 'text' is neither a text nor a list of sentences$"):
            source(Record({"text": value}, "x"), None)


def test_repeated_documents_become_empty_and_keep_their_number():
    counts = Counter()
    texts = ["a b", "c", " a b\n", ["a b"], ["a", "b"], "", "", "c"]
    found = list(unique_only((Source(text, "x") for text in texts), counts))
    assert [item.text for item in found] == ["a b", "c", "", "", ["a", "b"], "", "", ""]
    assert counts == {"repeated": 3}


def test_batches_cover_everything_in_order():
    assert [len(batch) for batch in batches(range(7), 3)] == [3, 3, 1]
    assert list(batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batches([], 3)) == []


def test_a_script_that_the_word_rule_cannot_count_is_refused():
    greek = [Source("Καλημέρα κόσμε. Το ποτάμι ανέβηκε. Έβρεξε πολύ.", "news.txt:1")]
    with pytest.raises(UserError, match=r"^news\.txt:1: 100% of the letters .* --words unicode or --words"):
        check_sources(greek, WordOptions())
    for rule in ("unicode", "subword"):
        check_sources(greek, WordOptions(words=rule))
    check_sources([Source("Der Fluß überschwemmte Köln. Schön war es nicht.", "x")], WordOptions())
    check_sources([], WordOptions())


def test_what_shards_were_made_with_is_kept(toy_tokenizer):
    tokenizer = toy_tokenizer[0]
    about = meta(tokenizer, WordOptions(), GapOptions(ratio=0.2), CorpusOptions(), seed=4, batch=256)
    assert about["tokenizer"] == tokenizer.sha256
    assert about["gaps"]["ratio"] == 0.2
    assert (about["seed"], about["vocabulary"], about["batch"]) == (4, 293, 256)
