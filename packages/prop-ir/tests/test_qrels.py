"""Judgements and LETOR files: the same facts in three layouts, the real collections, errors."""

import sys
from types import SimpleNamespace

import pytest

from nonet.errors import UserError
from nonet.testing import data_folder
from prop_ir.letor import letor_qrels, letor_run, read_letor
from prop_ir.qrels import read_qrels
from prop_ir.runs import read_run

LETOR = """\
2 qid:10032 1:0.056537 2:0.5 3:1.0 #docid = GX029-35-5894638 inc = 0.0119881192468859 prob = 0.139842
0 qid:10032 1:0.279152 3:0.0 #docid = GX030-77-6315042 inc = 1 prob = 0.341364

-1 qid:18219 1:1.5 2:-3e-1 #docid = GX004-66-12099765 inc = -1 prob = 0.223732
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_the_same_judgements_in_three_layouts(tmp_path):
    expected = {"q2": {"d1": 1, "d0": 0}, "q1": {"d1": 3, "d 9".replace(" ", ""): -2}}
    trec = "q2 0 d1 1\nq2 Q0 d0 0\n\nq1\t0\td1   3\r\nq1 0 d9 -2\n"
    beir = "query-id\tcorpus-id\tscore\nq2\td1\t1\nq2\td0\t0\nq1\td1\t3\nq1\td9\t-2\n"
    letor = "1 qid:q2 1:1 #docid = d1\n0 qid:q2 #docid = d0\n3 qid:q1 2:2 #docid = d1\n-2 qid:q1 #docid=d9\n"
    for name, text in (("a.txt", trec), ("test.tsv", beir), ("train.txt", letor)):
        found = read_qrels(write(tmp_path / name, text))
        assert found == expected
        assert list(found) == ["q2", "q1"]


def test_real_judgements():
    cranfield = read_qrels(data_folder("cranfield", "cranqrel.trec.txt"))
    assert list(cranfield) == [str(number) for number in range(1, 226)]
    grades = [grade for judged in cranfield.values() for grade in judged.values()]
    assert (grades.count(0), grades.count(1), grades.count(3), len(grades)) == (225, 1611, 1, 1837)
    vaswani = read_qrels(data_folder("vaswani", "qrels"))
    assert (len(vaswani), sum(map(len, vaswani.values()))) == (93, 2083)


def test_lines_of_letor_by_hand(tmp_path):
    path = write(tmp_path / "test.txt", LETOR)
    first, second, third = read_letor(path)
    assert first == ("10032", "GX029-35-5894638", 2, {1: 0.056537, 2: 0.5, 3: 1.0})
    assert (second.query, second.features) == ("10032", {1: 0.279152, 3: 0.0})
    assert (third.grade, third.features[2]) == (-1, -0.3)
    assert letor_qrels(path) == {
        "10032": {"GX029-35-5894638": 2, "GX030-77-6315042": 0}, "18219": {"GX004-66-12099765": -1}
    }  # fmt: skip


def test_a_feature_of_letor_is_a_run(tmp_path):
    path = write(tmp_path / "test.txt", LETOR)
    assert list(letor_run(path, 1)["10032"].items()) == [
        ("GX030-77-6315042", 0.279152), ("GX029-35-5894638", 0.056537)
    ]  # fmt: skip
    assert letor_run(path, 2)["10032"]["GX030-77-6315042"] == 0  # the line lacks it
    assert read_run(f"{path}@1") == letor_run(path, 1)
    with pytest.raises(UserError, match="no feature 9; features are 1 to 3"):
        read_run(f"{path}@9")
    with pytest.raises(UserError, match=r"absent@9: no such file"):
        read_run(tmp_path / "absent@9")


def test_documents_of_letor_without_ids_are_numbered(tmp_path):
    path = write(tmp_path / "msn.txt", "2 qid:1 1:3 2:0\n1 qid:1 1:3 2:1\n0 qid:2 1:0 2:0\n")
    assert letor_qrels(path) == {"1": {"1-1": 2, "1-2": 1}, "2": {"2-1": 0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 d 1\n1 0 e\n", r"q\.txt:2: 3 columns, but judgements have 4: query 0 document grade"),
        ("1 d 1\n", "a BEIR table begins with its header"),
        ("1 0 d 1.5\n", r"q\.txt:1: grade '1.5' is not a whole number"),
        ("1 0 d 1\n1 0 d 0\n", r"q\.txt:2: document d is judged twice for query 1 \(1 and 0\)"),
        ("\n\n", "is empty"),
        ("query-id\tcorpus-id\tscore\n", "a header and no judgement"),
        ("query-id\tcorpus-id\tscore\na\tb\tc\td\n", r"q\.txt:2: 4 columns, but judgements have 3"),
        ("2 qid:1 1:0.5 #docid = a\n2 qid:1 1:x\n", r"q\.txt:2: not a line of LETOR; they are GRADE"),
        ("2 qid:1 1:0.5 1:0.5\n", "not a line of LETOR"),
        ("2 qid:1 1:1 #docid = a\n1 qid:1 1:1 #docid = a\n", "document a occurs twice for query 1"),
    ],
)  # fmt: skip
def test_bad_judgements_are_refused_with_file_and_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_qrels(write(tmp_path / "q.txt", text))


def test_features_that_are_no_numbers_are_no_run(tmp_path):
    path = write(tmp_path / "a.txt", "1 qid:1 1:nan #docid = x\n")
    with pytest.raises(UserError, match="query 1, document x: feature 1 is NaN"):
        letor_run(path, 1)


def test_entries_of_ir_datasets(monkeypatch):
    """With a catalogue of our own: the real one would fetch."""
    rows = [SimpleNamespace(query_id="1", doc_id="a", relevance=2, iteration="0")]

    def load(name):
        if name != "toy/test":
            raise KeyError(name)
        return SimpleNamespace(has_qrels=lambda: True, qrels_iter=lambda: iter(rows))

    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=load))
    assert read_qrels("ir_datasets:toy/test") == {"1": {"a": 2}}
    with pytest.raises(UserError, match="ir_datasets:other: ir_datasets has no such entry"):
        read_qrels("ir_datasets:other")
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(UserError, match=r"install ir_datasets: pip install 'prop-ir\[datasets\]'"):
        read_qrels("ir_datasets:toy/test")
