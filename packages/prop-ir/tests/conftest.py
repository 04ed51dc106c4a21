"""What tests of re-ranking and fine-tuning start from: a made-up collection, a first stage, a tiny model."""

from collections import Counter
from typing import Any, NamedTuple

import pytest


class JudgedToy(NamedTuple):
    """Files and the same in memory."""

    folder: Any
    """docs.jsonl, topics.tsv, qrels.txt, first.trec, bert/"""
    texts: dict[str, str]
    topics: dict[str, str]
    qrels: dict[str, dict[str, int]]
    run: dict[str, dict[str, float]]
    """by shared words, 12 documents a query"""


@pytest.fixture(scope="session")
def judged_toy(tmp_path_factory):
    """80 notices, 20 queries, candidates by shared words, an untrained encoder without a ranking head."""
    from prop_ir.runs import write_run
    from prop_ir.toy import collection, write_collection, write_encoder

    folder = tmp_path_factory.mktemp("judged")
    toy = collection(80, 20, seed=3)
    write_collection(toy, folder)
    write_encoder(folder / "bert", layers=2, width=16, heads=2, positions=96)
    texts = {document.id: document.text for document in toy.documents}
    counts = {name: Counter(text.lower().replace(".", "").split()) for name, text in texts.items()}
    run = {}
    for query, text in toy.topics.items():
        scores = {name: float(sum(count[word] for word in text.split())) for name, count in counts.items()}
        run[query] = {name: scores[name] for name in sorted(scores, key=lambda n: (-scores[n], n))[:12]}
    write_run(folder / "first.trec", run, "first")
    return JudgedToy(folder, texts, toy.topics, toy.qrels, run)


@pytest.fixture(scope="session")
def judged_ranker(judged_toy):
    """A function that gives the tiny ranker anew (its head drawn), and its tokenizer."""
    from prop_ir.model import load_ranker

    def make(seed=0):
        return load_ranker(judged_toy.folder / "bert", head="new", seed=seed, say=lambda _: None)

    return make


@pytest.fixture(scope="session")
def judged_task(judged_toy, judged_ranker):
    """The toy as word pieces."""
    from prop_ir.document_pieces import pieces_of
    from prop_ir.groups import Task

    _, tokenizer = judged_ranker()
    texts = pieces_of(judged_toy.texts, tokenizer)
    return Task(pieces_of(judged_toy.topics, tokenizer), texts, judged_toy.run, judged_toy.qrels)
