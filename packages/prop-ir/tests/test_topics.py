"""Topics: the same queries in several layouts, the real collections, errors, and the trap of Cranfield."""

import json
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from nonet.errors import UserError
from nonet.testing import data_folder
from prop_ir.qrels import read_qrels
from prop_ir.topics import check_ids, read_topics

SGML = """
<top>

<num> Number: 301
<title> Topic: International Organized
 Crime

<desc> Description:
Identify R&D of a < b &amp; c.

<narr> Narrative:
A relevant document ...

</top>
<top>
<num> Number: 302 <title> Polio
<desc> Description: Is it?
<narr> Narrative: Yes.
"""
WEB = """<?xml version="1.0"?>
<webtrack>
  <topic number="51" type="faceted">
    <query>horse hooves</query>
    <description>
      Find information on hooves.
    </description>
    <subtopic number="1" type="nav"><description>Another one.</description></subtopic>
  </topic>
  <topic number='52'><query>avp</query><description>x</description></topic>
</webtrack>
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_the_same_queries_in_three_layouts(tmp_path):
    expected = {"q1": "horse hooves", "12": "polio ?"}
    table = "q1\thorse  hooves \n\n12\tpolio ?\r\n"
    beir = "".join(
        json.dumps(row) + "\n"
        for row in ({"_id": "q1", "text": "horse hooves", "metadata": {}}, {"_id": 12, "text": "polio\n?"})
    )
    xml = (
        "<xml><top><num>q1</num><title>horse\nhooves</title></top>\n<TOP><NUM> 12<TITLE> polio ?</TOP></xml>"
    )
    for name, text in (("t.tsv", table), ("queries.jsonl", beir), ("t.xml", xml)):
        found = read_topics(write(tmp_path / name, text))
        assert found == expected
        assert list(found) == ["q1", "12"]


def test_topics_of_trec_with_labels_and_without_ends(tmp_path):
    path = write(tmp_path / "topics.301-450", SGML)
    assert read_topics(path) == {"301": "International Organized Crime", "302": "Polio"}
    assert read_topics(path, "desc") == {"301": "Identify R&D of a < b & c.", "302": "Is it?"}
    assert read_topics(path, "title+narr")["302"] == "Polio Yes."


def test_topics_of_the_web_track(tmp_path):
    path = write(tmp_path / "web.xml", WEB)
    assert read_topics(path) == {"51": "horse hooves", "52": "avp"}
    assert read_topics(path, "desc")["51"] == "Find information on hooves."


def test_positions_instead_of_numbers(tmp_path):
    path = write(tmp_path / "web.xml", WEB)
    assert read_topics(path, numbers="position") == {"1": "horse hooves", "2": "avp"}


def test_real_topics():
    cranfield = read_topics(data_folder("cranfield", "cran.qry.xml"))
    assert list(cranfield)[:5] == ["1", "2", "4", "8", "9"]
    assert (len(cranfield), list(cranfield)[-1]) == (225, "365")
    assert cranfield["1"].startswith(
        "what similarity laws must be obeyed when constructing aeroelastic models of"
    )
    vaswani = read_topics(data_folder("vaswani", "query-text.trec"))
    assert list(vaswani) == [str(number) for number in range(1, 94)]
    assert vaswani["5"] == "USE OF PROGRAMS IN ENGINEERING TESTING OF COMPUTERS"


# ------------------------------------------------------------------------------------------------- check_ids


def test_the_trap_of_cranfield_is_noticed():
    """The query file has the original numbers, the judgements the positions; 152 numbers occur in both."""
    path, qrels = (
        data_folder("cranfield", "cran.qry.xml"),
        read_qrels(data_folder("cranfield", "cranqrel.trec.txt")),
    )
    with pytest.raises(UserError) as error:
        check_ids(read_topics(path), qrels, "cran.qry.xml")
    text = str(error.value)
    assert "cran.qry.xml: only 152 of its 225 queries are among the 225 of the judgements" in text
    assert "they are 1, 2, 4, 8, 9, ... here and 1, 2, 3, 4, 5, ... there" in text
    assert "--number-topics position" in text
    check_ids(read_topics(path, numbers="position"), qrels, "cran.qry.xml")


def test_ids_of_a_part_of_the_queries_are_fine():
    judged = dict.fromkeys(map(str, range(100)))
    check_ids(map(str, range(10)), judged, "a fold")
    check_ids(map(str, range(1000)), judged, "a track that judges some of its topics")
    check_ids(["0", "1", "2", "3", "x"], judged, "four of five")
    check_ids([], judged, "nothing")
    with pytest.raises(UserError, match="four: only 3 of its 4 queries"):
        check_ids(["0", "1", "2", "x"], judged, "four")
    with pytest.raises(UserError, match="they are a, b here and 0, 1"):
        check_ids("ab", judged, "others")


# ---------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 no tab here\n", r"t\.txt:1: no tab between id and text"),
        ("1\ta\n2\tb\tc\n", r"t\.txt:2: more than one tab"),
        ("1\ta\n1\tb\n", r"t\.txt:2: topic 1 occurs twice"),
        ("1\t \n", "topic 1 has no text"),
        ("1 2\ttext\n", "id '1 2' cannot stand in a run file"),
        ("\t text\n", "a topic without id"),
        ("", r"t\.txt: holds no topics"),
        ("<top><num>1</num></top>", "topic 1 has no 'title'; it has nothing: see --field"),
        ("\n<top><title>x</title></top>", r"t\.txt:2: a topic without id"),
        ("<doc>x</doc>", "holds no topics; known are"),
        ("<topic type='x'><query>a</query></topic>", "a <topic> without number"),
        ('{"_id": 1, "text": "a"}\n{"_id": 2\n', r"t\.txt:2: not valid JSON"),
        ('{"_id": 1, "words": "a"}\n', "fields are _id, words, and _id and text are wanted"),
        ('{"a": 1}\n["x"]\n', "no id or no text"),
    ],
)  # fmt: skip
def test_bad_topics_are_refused_with_file_and_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_topics(write(tmp_path / "t.txt", text))


def test_a_part_that_the_layout_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match="topic 1 has no 'desc'; it has title: see --field"):
        read_topics(write(tmp_path / "t.tsv", "1\ta\n"), "desc")


def test_entries_of_ir_datasets(monkeypatch):
    Query = namedtuple("Query", "query_id title description")

    def default_text(self):
        return self.title

    rows = [type("Q", (Query,), {"default_text": default_text})("7", "polio", "Is it?")]
    plain = [
        type("P", (namedtuple("P", "query_id text"),), {"default_text": lambda self: self.text})("8", "x")
    ]
    entries = {"robust": rows, "marco": plain}

    def load(name):
        return SimpleNamespace(has_queries=lambda: name in entries, queries_iter=lambda: iter(entries[name]))

    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=load))
    assert read_topics("ir_datasets:robust") == {"7": "polio"}
    assert read_topics("ir_datasets:robust", "desc") == {"7": "Is it?"}
    assert read_topics("ir_datasets:marco") == {"8": "x"}
    with pytest.raises(UserError, match="this entry of ir_datasets has no queries"):
        read_topics("ir_datasets:documents")
