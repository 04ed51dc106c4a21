"""Reading collections: files written by hand in every layout, real ones, and what is wrong with a line."""

import gzip
import json
import sys
import types
from collections import namedtuple

import pytest
import zstandard

from nonet.errors import UserError
from nonet.testing import data_folder
from prop_ir.collections import Collection, Document, texts_of
from prop_ir.options import ReadOptions

SKIP = ReadOptions(on_error="skip")

TREC = """<?xml version="1.0"?>
<!-- two collections' habits in one -->
<DOC>
<DOCNO> FT911-1 </DOCNO>
<DATE>910514</DATE>
<HEADLINE>Rivers &amp; lakes</HEADLINE>
<TEXT><P>The first
river.</P><!-- hidden --> a &lt; b, x < y
</TEXT>
</DOC>
<doc><docno>low-2</docno>no tags at all</doc><DOC id="attr-3" title='A "title"'>
inside
</DOC>
"""


def read(path, options=None):
    return [(document.id, document.text) for document in Collection([path], options)]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


# ---------------------------------------------------------------------------------------------------- trec


def test_trec_documents_in_either_case_with_and_without_tags(tmp_path):
    path = write(tmp_path, "a.sgml", TREC)
    documents = list(Collection([path]))
    assert [d.id for d in documents] == ["FT911-1", "low-2", "attr-3"]
    first, second, third = (d.text for d in documents)
    assert first.split() == "Rivers & lakes. The first river. a < b, x < y".split()
    assert (second, third) == ("no tags at all", 'A "title". inside')
    assert [d.where for d in documents] == [f"{path}:3", f"{path}:11", f"{path}:11"]


def test_trec_fields_are_tags_in_the_order_asked_for(tmp_path):
    path = write(tmp_path, "a.sgml", TREC)
    found = read(path, ReadOptions(fields=("date", "headline")))
    assert found[0] == ("FT911-1", "910514. Rivers & lakes")
    assert found[1] == ("low-2", "")


def test_pages_in_html_lose_headers_scripts_and_tags(tmp_path):
    page = (
        "<DOC>\n<DOCNO>CACM-0001</DOCNO>\n<DOCHDR>\nhttp://x.y/ 200\n</DOCHDR>\n"
        "<html><head><title>Preliminary Report</title><script>var a;</script></head>\n"
        "<pre>\n\nInternational Algebraic\nLanguage\n\nCACM December, 1958\n</pre>\n</html>\n</DOC>\n"
    )
    ((name, text),) = read(write(tmp_path, "cacm.trec", page))
    assert name == "CACM-0001"
    assert text.split() == "Preliminary Report. International Algebraic Language CACM December, 1958".split()


def test_lead_paragraphs_come_before_the_text(tmp_path):
    text = "<DOC>\n<DOCNO>W1</DOCNO>\n<HL>Head</HL>\n<TEXT>\nrest\n</TEXT>\n<LP>\nlead\n</LP>\n</DOC>\n"
    assert read(write(tmp_path, "wsj.txt", text)) == [("W1", "Head. lead\nrest")]


def test_trec_trouble_is_named_by_the_line_where_the_document_begins(tmp_path):
    text = (
        "<DOC>\n<DOCNO>1</DOCNO>\none\n"  # never ends
        "<DOC>\n<DOCNO>2</DOCNO>\ntwo\n</DOC>\n"
        "<DOC>\nnobody\n</DOC>\n"
        "<DOC>\n<DOCNO>a b</DOCNO>\n</DOC>\n"
        "<DOC>\n<DOCNO>3</DOCNO>\ncut"
    )
    path = write(tmp_path, "bad.trec", text)
    collection = Collection([path], SKIP)
    assert [(d.id, d.text) for d in collection] == [("2", "two")]
    assert collection.counts == {
        "files": 1,
        "documents": 1,
        "skipped: a <DOC> without </DOC>": 2,
        "skipped: no DOCNO": 1,
        "skipped: bad id": 1,
    }
    places = [message.split(": ")[0].rpartition(":")[2] for message in collection.examples]
    assert places == ["1", "8", "11", "14"]
    with pytest.raises(UserError, match=r"bad.trec:1: a <DOC> without </DOC>"):
        list(Collection([path]))


def test_a_trec_file_is_read_a_document_at_a_time(tmp_path):
    many = "".join(f"<DOC>\n<DOCNO>{i}</DOCNO>\n{'word ' * 200}\n</DOC>\n" for i in range(5000))
    collection = Collection([write(tmp_path, "many.trec", many)])
    found = iter(collection)
    assert next(found).id == "0"
    assert collection.bytes_read < 300_000 < collection.total_bytes


# ------------------------------------------------------------------------------------------------- records


def test_json_lines_of_wikipedia_anserini_and_beir(tmp_path):
    wiki = {"id": "12", "url": "http://x", "title": "Anarchism", "text": "Anarchism is\na word."}
    assert read(write(tmp_path, "AA/wiki_00", json_lines(wiki))) == [
        ("12", "Anarchism. Anarchism is\na word.")
    ]
    anserini = {"id": 7, "contents": "one text"}
    assert read(write(tmp_path, "docs.jsonl", json_lines(anserini))) == [("7", "one text")]
    beir = [
        {"_id": "MED-1", "title": "", "text": "no title"},
        {"_id": "MED-2", "title": "alone", "text": None},
    ]
    folder = write(tmp_path, "scifact/corpus.jsonl", json_lines(*beir)).parent
    write(folder, "queries.jsonl", json_lines({"_id": "1", "text": "a query"}))
    write(folder, "qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\tMED-1\t1\n")
    for options in (None, ReadOptions(layout="beir")):
        assert read(folder, options) == [("MED-1", "no title"), ("MED-2", "alone")]


def test_a_json_list_and_fields_by_name(tmp_path):
    rows = [{"docno": "a", "text": "one", "summary": ["two", "three"]}]
    path = write(tmp_path, "docs.json", json.dumps(rows))
    assert read(path) == [("a", "one")]
    assert read(path, ReadOptions(fields=("summary", "text"))) == [("a", "two three. one")]
    objects = "".join(json.dumps(row, indent=1) + "\n" for row in [*rows, {"id": 2, "contents": "b"}])
    assert read(write(tmp_path, "many.json", objects)) == [("a", "one"), ("2", "b")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1", "text": "a"', r":2: not valid JSON"),
        ('["1"]', r":2: a JSON list"),
        ('{"text": "a"}', r":2: no id; fields are text; name it one of id, _id"),
        ('{"id": "1", "sum": "a"}', r":2: no text; fields are id, sum; name the text's with --read.fields"),
        ('{"id": "1", "text": 3}', r":2: field 'text' is a int; make it a text"),
        ('{"id": "1 2", "text": "a"}', r":2: id '1 2' cannot stand in a run file"),
        ('{"id": 1.5, "text": "a"}', r":2: id 1.5 cannot"),
        ('{"id": "", "text": "a"}', r":2: id '' cannot"),
    ],
)
def test_bad_json_lines_are_refused_or_counted(tmp_path, line, message):
    path = write(tmp_path, "docs.jsonl", '{"id": "0", "text": "good"}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        read(path)
    collection = Collection([path], SKIP)
    assert [d.id for d in collection] == ["0"]
    assert len(collection.examples) == 1
    assert sum(number for name, number in collection.counts.items() if name.startswith("skipped")) == 1


def test_a_field_that_was_asked_for_has_to_be_there(tmp_path):
    path = write(tmp_path, "docs.jsonl", json_lines({"id": "0", "text": "good"}))
    with pytest.raises(UserError, match="no field 'abstract'; fields are id, text"):
        read(path, ReadOptions(fields=("abstract",)))


def test_msmarco_lines_have_four_fields(tmp_path):
    lines = "D1\thttp://a\tTitle\tBody one\nD2\thttp://b\t\tno title\nD3\ttorn\nD4\tu\tt\ttab\tin body\n"
    path = write(tmp_path, "msmarco-docs.tsv", lines + "D5\tu\tt\tb\n" * 1)
    collection = Collection([path], SKIP)
    assert [(d.id, d.text) for d in collection] == [
        ("D1", "Title. Body one"),
        ("D2", "no title"),
        ("D5", "t. b"),
    ]
    assert collection.counts["skipped: not 4 fields"] == 2
    assert collection.examples[0].startswith(
        f"{path}:3: 2 tab-separated fields, not 4 (docid, url, title, body)"
    )
    with pytest.raises(UserError, match=r"msmarco-docs.tsv:3: 2 tab-separated fields"):
        read(path)


def test_passages_have_two_fields_but_only_in_a_file_that_was_named(tmp_path):
    path = write(tmp_path, "collection.tsv", "0\tone passage\n1\tanother\n")
    assert read(path) == [("0", "one passage"), ("1", "another")]
    with pytest.raises(UserError, match="none of the 1 files there holds documents"):
        read(tmp_path)


def test_judgements_are_no_documents(tmp_path):
    path = write(tmp_path, "qrels.tsv", "1\t0\tD1\t1\n1\t0\tD2\t0\n")
    with pytest.raises(UserError, match=r"qrels.tsv: holds no documents in a layout that is known"):
        read(path)


# --------------------------------------------------------------------------------------------------- smart


def test_smart_documents_are_title_and_body(tmp_path):
    text = (
        ".I 1\n.T\nA title\n.A\nSalton, G.\n.W\nFirst line\n.NET, .5 of it\n.X\n1\t5\t1\n"
        ".I 2\n.W\nno title\n.I 3\n.T\nno body\n"
    )
    path = write(tmp_path, "CISI.ALL", text)
    assert read(path) == [("1", "A title. First line\n.NET, .5 of it"), ("2", "no title"), ("3", "no body")]
    assert read(path, ReadOptions(fields=("A", ".t")))[0] == ("1", "Salton, G.. A title")
    assert [d.where for d in Collection([path])] == [f"{path}:{line}" for line in (1, 11, 14)]


# ----------------------------------------------------------------------------------- files, and their text


def test_packed_files_globs_and_folders_give_the_same_documents(tmp_path):
    rows = [json_lines({"id": f"{i}", "text": f"text {i}"}).encode() for i in range(3)]
    write(tmp_path, "part-0.jsonl", rows[0])
    write(tmp_path, "part-1.jsonl.gz", gzip.compress(rows[1]))
    write(tmp_path, "part-2.jsonl.zst", zstandard.compress(rows[2]))
    write(tmp_path, "README.md", "see <DOC> there\n")
    wanted = [("0", "text 0"), ("1", "text 1"), ("2", "text 2")]
    collection = Collection([tmp_path])
    assert [(d.id, d.text) for d in collection] == wanted
    assert collection.counts == {"files": 3, "ignored files": 1, "documents": 3}
    assert collection.bytes_read == collection.total_bytes
    assert read(tmp_path / "part-*") == wanted
    assert [(d.id, d.text) for d in collection] == wanted, "it can be read again"


def test_repeated_ids_are_refused_or_counted_across_files(tmp_path):
    one = write(tmp_path, "a.jsonl", json_lines({"id": "x", "text": "first"}))
    two = write(tmp_path, "b.jsonl", json_lines({"id": "x", "text": "second"}, {"id": "y", "text": "third"}))
    with pytest.raises(UserError, match=r"b.jsonl:1: document id 'x' occurs twice"):
        list(Collection([one, two]))
    collection = Collection([one, two], SKIP)
    assert [d.text for d in collection] == ["first", "third"]
    assert collection.counts["duplicates"] == 1


def test_nuls_and_bytes_that_are_no_text_are_mended_and_counted(tmp_path):
    path = write(tmp_path, "a.trec", b"<DOC>\n<DOCNO>1</DOCNO>\ncaf\xe9 a\0b \xff\n</DOC>\n")
    collection = Collection([path])
    assert [d.text for d in collection] == ["caf\ufffd ab \ufffd"]
    assert collection.counts["mended: invalid UTF-8"] == 2
    assert collection.counts["mended: NUL characters"] == 1
    assert read(path, ReadOptions(encoding="latin-1")) == [("1", "café ab ÿ")]


def test_paths_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match="name at least one"):
        Collection([])
    with pytest.raises(UserError, match=r"absent.jsonl: no such file"):
        Collection([tmp_path / "absent.jsonl"])
    with pytest.raises(UserError, match=r"notes.txt: holds no documents in a layout"):
        Collection([write(tmp_path, "notes.txt", "just\nsome notes\n")])
    with pytest.raises(UserError, match=r"no corpus.jsonl in this folder"):
        Collection([tmp_path], ReadOptions(layout="beir"))
    with pytest.raises(UserError, match="UTF-16"):
        Collection([write(tmp_path, "a.jsonl", "\ufeffa".encode("utf-16"))])
    with pytest.raises(UserError, match="stdin: say how it is laid out"):
        Collection(["-"])


def test_texts_of_some_documents_end_the_reading_early(tmp_path):
    path = write(
        tmp_path, "a.jsonl", json_lines({"id": "a", "text": "A"}, {"id": "b", "text": "B"}) + "broken\n"
    )
    assert texts_of([path], ["b"]) == {"b": "B"}
    with pytest.raises(UserError, match=r"a.jsonl:3"):
        texts_of([path], ["b", "absent"])


# --------------------------------------------------------------------------------------------- ir_datasets


class FakeDataset:
    def __init__(self, records):
        self.records = records

    def has_docs(self):
        return bool(self.records)

    def docs_iter(self):
        return iter(self.records)


@pytest.fixture
def catalogue(monkeypatch):
    marco = namedtuple("Marco", "doc_id url title body")
    other = namedtuple("Other", "doc_id abstract_text")
    other.default_text = lambda self: self.abstract_text.upper()
    sets = {
        "marco": FakeDataset([marco("D1", "u", "T", "B"), marco("D2", "u", "", "B2")]),
        "other": FakeDataset([other("o1", "shout")]),
        "queries-only": FakeDataset([]),
    }
    module = types.ModuleType("ir_datasets")
    module.load = sets.__getitem__
    monkeypatch.setitem(sys.modules, "ir_datasets", module)


@pytest.mark.usefixtures("catalogue")
def test_collections_of_the_catalogue():
    assert list(Collection(["ir_datasets:marco"])) == [
        Document("D1", "T. B", "ir_datasets:marco:1"),
        Document("D2", "B2", "ir_datasets:marco:2"),
    ]
    assert read("ir_datasets:other") == [("o1", "SHOUT")]
    with pytest.raises(UserError, match="no such collection"):
        Collection(["ir_datasets:nothing"])
    with pytest.raises(UserError, match="has no documents"):
        Collection(["ir_datasets:queries-only"])


def test_the_catalogue_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(UserError, match=r"pip install 'prop-ir\[datasets\]'"):
        Collection(["ir_datasets:vaswani"])


# ---------------------------------------------------------------------------------------------- real files


def test_cranfield_has_1400_documents_two_of_which_are_empty():
    documents = list(Collection([data_folder("cranfield")]))
    assert len(documents) == 1400
    assert [d.id for d in documents if not d.text] == ["471", "995"]
    bodies = Collection([data_folder("cranfield", "cran.all.1400.xml")], ReadOptions(fields=("text",)))
    assert round(sum(len(d.text.split()) for d in bodies) / 1400) == 164


def test_vaswani_has_11429_documents_of_42_words():
    documents = list(Collection([data_folder("vaswani")]))
    assert len(documents) == 11_429
    assert round(sum(len(d.text.split()) for d in documents) / 11_429) == 42
