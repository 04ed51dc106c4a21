"""Documents of every layout: files written here by hand, and the real ones, whose numbers are known."""

import json
import zipfile

import pytest

from keyphrase_plm.layouts import PLAIN, read_documents
from nonet.errors import UserError
from nonet.testing import data_folder


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one(path, **options):
    (document,) = read_documents(path, **options)
    return document


RECORDS = {
    "canonical": (
        {"id": "7", "title": "T", "body": "a net", "present": ["net"], "absent": ["x"]},
        "7", "T", "a net",
    ),
    "abstract": ({"title": "T", "abstract": "a net", "keyword": "Nets; x"}, "1", "T", "a net"),
    "kpbiomed": (
        {"id": 5, "title": "T", "abstract": "a net", "keyphrases": ["Nets", "x"]},
        "5", "T", "a net",
    ),
    "stackex": ({"id": "q", "title": "T", "question": "a net", "tags": "net;x"}, "q", "T", "a net"),
    "ldkp": (
        {
            "id": "p",
            "sections": ["title", "abstract", "intro"],
            "sec_text": [["T"], ["a"], ["net"]],
            "extractive_keyphrases": ["net"],
            "abstractive_keyphrases": ["x"],
        },
        "p", "T", "a net",
    ),
    "midas": (
        {
            "id": "m",
            "document": ["a", "net"],
            "doc_bio_tags": ["O", "B"],
            "extractive_keyphrases": ["net"],
            "abstractive_keyphrases": ["x"],
        },
        "m", "", "a net",
    ),
    "fields": ({"text": "a net", "title": "T", "keywords": ["net", "x"]}, "1", "T", "a net"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_known_by_their_fields(tmp_path, name):
    record, key, title, body = RECORDS[name]
    document = one(jsonl(tmp_path / "data.jsonl", record))
    assert (document.id, document.title, document.body) == (key, title, body)
    assert [phrase.lower() for phrase in document.present] in (["net"], ["nets"])
    assert document.absent == ("x",)
    assert document.where == f"{tmp_path / 'data.jsonl'}:1"


def test_openkp_has_present_phrases_of_words_and_no_title(tmp_path):
    record = {"url": "http://x", "text": "buy cheap shoes", "KeyPhrases": [["cheap", "shoes"], ["shop"]]}
    document = one(jsonl(tmp_path / "a.jsonl", record))
    assert document.id == "http://x"
    assert (document.title, document.present, document.absent) == ("", ("cheap shoes", "shop"), ())


def test_commas_alone_could_be_one_phrase_or_several_so_the_user_decides(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"title": "T", "abstract": "a net", "keywords": "net, deep net"})
    with pytest.raises(UserError, match=r"the layouts abstract and oagk both fit; choose one with --format"):
        list(read_documents(path))
    assert one(path, format="oagk").present + one(path, format="oagk").absent == ("net", "deep net")
    assert one(path, format="abstract").absent == ("net, deep net",)


def test_two_layouts_in_one_record_are_named(tmp_path):
    record = {"title": "T", "abstract": "a", "question": "b", "tags": "c"}
    with pytest.raises(UserError, match=r"abstract and stackex both fit; choose one with --format"):
        list(read_documents(jsonl(tmp_path / "a.jsonl", record)))


def test_unknown_fields_are_listed_and_can_be_named(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"headline": "T", "story": "a net", "labels": "net;x"})
    with pytest.raises(
        UserError, match=r"a\.jsonl:1: no known layout has the fields headline, story, labels"
    ):
        list(read_documents(path))
    document = one(path, title_field="headline", text_field="story", keywords_field="labels")
    assert document[1:5] == ("T", "a net", ("net",), ("x",))
    with pytest.raises(UserError, match=r"no field 'tale'; fields are .*--text-field"):
        list(read_documents(path, text_field="tale"))


def test_csv_and_tsv_have_the_same_fields(tmp_path):
    (tmp_path / "a.csv").write_text('title,abstract,keywords\nT,"a net, deep",net;x\n')
    (tmp_path / "a.tsv").write_text("title\ttext\tkeywords\nT\ta net, deep\tnet;x\n")
    assert (
        one(tmp_path / "a.csv")[:5]
        == one(tmp_path / "a.tsv")[:5]
        == ("1", "T", "a net, deep", ("net",), ("x",))
    )


def parallel(folder, sources, targets, names=("a_src.txt", "a_trg.txt")):
    for name, rows in zip(names, (sources, targets), strict=True):
        (folder / name).write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return folder / names[0]


def test_parallel_lines_keep_the_split_of_the_file(tmp_path):
    names = ("word_inspec_testing_context.txt", "word_inspec_testing_allkeywords.txt")
    path = parallel(tmp_path, ["T <eos> a <digit> net"], ["deep net;<digit> net;<peos>x;y"], names)
    document = one(path)
    assert document[1:5] == ("T", "a <digit> net", ("deep net", "<digit> net"), ("x", "y"))


def test_without_the_mark_the_split_comes_from_the_text(tmp_path):
    reader = read_documents(parallel(tmp_path, ["T <eos> a net", "no title"], ["x;nets", "t"]))
    first, second = reader
    assert (first.present, first.absent) == (("nets",), ("x",))
    assert (second.title, second.body) == ("", "no title")
    assert reader.counts["lines without <peos> (split by the text)"] == 2
    assert reader.counts["lines without a mark after the title"] == 1


def test_blank_lines_are_documents_so_that_numbers_stay_in_step(tmp_path):
    reader = read_documents(parallel(tmp_path, ["T <eos> a", "", "U <eos> b"], ["x<peos>", "y<peos>", ""]))
    assert [document.id for document in reader] == ["1", "2", "3"]
    assert reader.counts["blank sources (kept)"] == reader.counts["blank lines of phrases (kept)"] == 1
    assert "blank sources (kept): 1" in reader.describe()


def test_parallel_files_of_different_lengths_are_refused_with_both_counts(tmp_path):
    path = parallel(tmp_path, ["a <eos> b"] * 5, ["x"] * 3)
    with pytest.raises(UserError, match=r"a_src\.txt has 5 lines and .*a_trg\.txt 3: line 4 has no partner"):
        list(read_documents(path))
    path = parallel(tmp_path, ["a <eos> b"], ["x"] * 3)
    with pytest.raises(UserError, match=r"a_src\.txt has 1 lines and .*a_trg\.txt 3: line 2 has no partner"):
        list(read_documents(path))


def test_a_second_mark_is_taken_out_and_counted(tmp_path):
    reader = read_documents(parallel(tmp_path, ["T <eos> a [sep] b <eos> c"], ["x<peos>y"]))
    (document,) = reader
    assert (document.title, document.body.split()) == ("T", ["a", "b", "c"])
    assert reader.counts["marks inside a text (taken out)"] == 2


def test_a_mark_inside_the_text_of_a_record_is_taken_out_and_counted(tmp_path):
    reader = read_documents(
        jsonl(tmp_path / "a.jsonl", {"title": "a [SEP] b", "abstract": "c", "keywords": []})
    )
    assert next(iter(reader)).title.split() == ["a", "b"]
    assert reader.counts["marks inside a text (taken out)"] == 1


def test_the_file_of_phrases_is_not_the_one_to_name(tmp_path):
    parallel(tmp_path, ["a <eos> b"], ["x"])
    with pytest.raises(UserError, match=r"these are the phrases; name the file of the documents, a_src\.txt"):
        read_documents(tmp_path / "a_trg.txt")


def test_plain_text_is_lines_or_a_document_as_the_user_says(tmp_path):
    (tmp_path / "note.txt").write_text("A title\nand a text\n")
    with pytest.raises(UserError, match=r"choose --format lines or --format text"):
        read_documents(tmp_path / "note.txt")
    assert len(list(read_documents(tmp_path / "note.txt", format="lines"))) == 2
    assert one(tmp_path / "note.txt", format="text")[:3] == ("note", "A title", "and a text")


def test_a_missing_file_is_named_with_the_formats_that_are_read():
    with pytest.raises(
        UserError, match=r"kp20k\.jsonl: no such file or folder; documents are read from \.jsonl"
    ):
        read_documents("kp20k.jsonl")


def test_ids_that_come_twice_are_numbered_in_raw_data_and_refused_in_canonical(tmp_path):
    row = {"id": "a", "title": "T", "abstract": "b", "keywords": []}
    reader = read_documents(jsonl(tmp_path / "raw.jsonl", row, row, row))
    assert [document.id for document in reader] == ["a", "a#2", "a#3"]
    row = {"id": "a", "title": "T", "body": "b", "present": [], "absent": []}
    with pytest.raises(UserError, match=r"own\.jsonl:2: the id 'a' was there before"):
        list(read_documents(jsonl(tmp_path / "own.jsonl", row, row)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"present": "net"}, "field 'present' is a str; it is a list of texts"),
        ({"present": [3]}, "field 'present' holds 3; phrases are texts"),
        ({"id": None}, "a document without id"),
        ({"title": 3}, "field 'title' is a int; it has to be text"),
    ],
)
def test_canonical_records_of_wrong_types_are_refused_with_their_line(tmp_path, change, message):
    row = {"id": "a", "title": "T", "body": "b", "present": [], "absent": []}
    with pytest.raises(UserError, match=rf"a\.jsonl:1: {message}"):
        list(read_documents(jsonl(tmp_path / "a.jsonl", row | change)))


def test_bad_records_can_be_skipped_and_are_counted(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"title": "T", "abstract": "b", "keywords": ["x"]})
    path.write_text(path.read_text() + "{broken\n" + path.read_text())
    with pytest.raises(UserError, match=r"a\.jsonl:2: not valid JSON"):
        list(read_documents(path))
    reader = read_documents(path, on_bad="skip")
    assert len(list(reader)) == 2
    assert reader.counts["records that cannot be read (left out)"] == 1


def packed(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return path


ENTRIES = {
    "S/docsutf8/10.txt": "A title\r\n\tof two lines\r\nBody of nets.\n",
    "S/docsutf8/9.txt": "Only a title\n",
    "S/keys/10.key": "net\n\twireless\n\n",
    "S/keys/77.key": "lost\n",
}


def test_a_zip_and_its_unpacked_folder_give_the_same_documents(tmp_path):
    path = packed(tmp_path / "S.zip", ENTRIES)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    inside, unpacked = read_documents(path), read_documents(tmp_path / "unpacked")
    first, second = (list(reader) for reader in (inside, unpacked))
    assert [document[:5] for document in first] == [document[:5] for document in second]
    assert [document.id for document in first] == ["9", "10"], "numbers in their order"
    assert first[1][1:5] == ("A title of two lines", "Body of nets.", ("net",), ("wireless",))
    assert inside.counts == unpacked.counts
    assert inside.counts["texts without a file of keys (kept)"] == 1
    assert inside.counts["files of keys without a text, such as S/keys/77.key"] == 1


@pytest.mark.parametrize("name", ["../docsutf8/1.txt", "/docsutf8/1.txt", "C:/docsutf8/1.txt"])
def test_a_zip_that_names_places_outside_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="names a place outside"):
        list(read_documents(packed(tmp_path / "a.zip", {name: "x"})))


def test_an_entry_that_unpacks_to_far_more_than_it_packs_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", {"docsutf8/1.txt": "a" * (5 << 20)})
    with pytest.raises(UserError, match=r"5,242,880 bytes unpacked of [\d,]+; a text has at most"):
        list(read_documents(path))


def test_damaged_and_other_zips_are_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UserError, match=r"a\.zip: not a sound zip file"):
        list(read_documents(tmp_path / "a.zip"))
    with pytest.raises(UserError, match=r"b\.zip: no docsutf8/ID\.txt in it"):
        list(read_documents(packed(tmp_path / "b.zip", {"readme.txt": "x"})))


@pytest.mark.parametrize(
    ("parts", "documents", "layout", "phrases", "absent"),
    [
        (("stackexchange-kp", "data", "StackExchange", "test_src.txt"), 4945, "parallel", 2.43, 55.1),
        (("papers", "keyphrases.jsonl"), 3619, "abstract", 3.55, 44.4),
        (("keyphrase-zips", "Inspec.zip"), 2000, "folder", 14.1, 38.8),
        pytest.param(
            ("keyphrase-zips", "Nguyen2007.zip"), 209, "folder", 12.0, 16.3, marks=pytest.mark.slow
        ),
        pytest.param(
            ("keyphrase-zips", "SemEval2010.zip"), 243, "folder", 15.6, 8.1, marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_real_data_sets_have_the_numbers_of_their_descriptions(parts, documents, layout, phrases, absent):
    reader = read_documents(data_folder(*parts))
    found = list(reader)
    counts = [sum(len(getattr(document, side)) for document in found) for side in ("present", "absent")]
    assert len(found) == documents
    assert set(reader.layouts.values()) == {layout}
    assert sum(counts) / documents == pytest.approx(phrases, abs=0.06)
    assert 100 * counts[1] / sum(counts) == pytest.approx(absent, abs=0.1)
    if layout == "parallel":  # what the scorer of Chan et al. counts on the same file
        assert sum(bool(document.present) for document in found) == 3480
        assert sum(bool(document.absent) for document in found) == 3881


def test_models_read_plain_text_as_it_would_be_prepared_and_prepared_text_as_it_is(tmp_path):
    """In "scan, fast" the word "scan," is no "scan"; a tagger that splits at spaces would find no phrase."""
    raw = {
        "title": "Brain scan, fast",
        "abstract": "An MRI-scan.",
        "keywords": ["brain scan", "MRI", "speed"],
    }
    (tmp_path / "raw.jsonl").write_text(json.dumps(raw) + "\n")
    reader = read_documents(tmp_path / "raw.jsonl")
    (document,) = reader.prepared()
    assert document[1:5] == ("Brain scan , fast", "An MRI - scan .", ("brain scan", "MRI"), ("speed",))
    assert reader.counts[PLAIN] == 1
    (bare,) = reader.prepared(gold=False)
    assert bare == document._replace(present=(), absent=())
    canonical = {"id": "1", "title": "Brain scan , fast", "body": "", "present": ["brain scan"], "absent": []}
    (tmp_path / "canonical.jsonl").write_text(json.dumps(canonical) + "\n")
    reader = read_documents(tmp_path / "canonical.jsonl")
    assert list(reader.prepared()) == list(reader)
    assert not reader.counts[PLAIN]
