"""A page with two rankings side by side, and the words of the documents that moved."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prop_ir.options import ReadOptions

if TYPE_CHECKING:
    from prop_ir.comparison import Score
    from prop_ir.documents import Document


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show what a re-ranker changed: two rankings side by side, and the terms that moved documents."""

    before: Path
    """run file of the first ranking, such as BM25's"""
    after: Path
    """run file of the second"""
    topics: Path
    """queries: id TAB text, TREC topics, BEIR's queries.jsonl, or ir_datasets:NAME"""
    corpus: tuple[Path, ...]
    """collection: files (also .gz or .zst), folders, globs, or ir_datasets:NAME"""
    out: Path
    """the page, .html"""
    qrels: Path | None = None
    """judgements, which colour the documents"""
    field: str = "title"
    """part of TREC topics that is the query: title, desc, narr, or several as title+desc"""
    number_topics: Literal["file", "position"] = "file"
    """position: topics are numbered 1, 2, ... in their order, as Cranfield's judgements are"""
    queries: tuple[str, ...] = ()
    """ids of the queries to show; none: those that changed most"""
    most: int = 10
    """how many queries"""
    depth: int = 20
    """ranks that are shown"""
    model: str | None = None
    """folder or hub name of the re-ranker: shows which words its score goes by"""
    moved: int = 3
    """ranks that a document has to have moved to be explained"""
    explained: int = 5
    """documents a query that are explained, those that moved most"""
    max_length: int = 512
    """word pieces of query and document together, for the model"""
    batch: int = 32
    """pairs at once, for the model"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU if there is one"""
    read: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    """how the collection is read"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        for name in ("most", "depth", "moved", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is 1 or more")
        if self.explained < 0:
            raise UserError(f"explained is {self.explained}; it is 0 or more")
        if self.out.suffix not in (".html", ".htm"):
            raise UserError(f"--out {self.out}: name an .html file")


def run(options: Options) -> int:
    """Choose queries, read the collection once, explain, and write the page."""
    from nonet.cli.progress import progress
    from nonet.errors import UserError
    from nonet.training.hub import local_or_hub
    from prop_ir.analysis import Analyser
    from prop_ir.collections import Collection
    from prop_ir.comparison import changes, explain, gather
    from prop_ir.comparison_page import Sheet, page
    from prop_ir.evaluation import run_names
    from prop_ir.qrels import read_qrels
    from prop_ir.runs import read_run
    from prop_ir.topics import check_ids, read_topics

    if options.model is not None:
        local_or_hub(options.model)  # before torch is loaded
    names = run_names([options.before, options.after])
    before, after = read_run(options.before), read_run(options.after)
    topics = read_topics(options.topics, options.field, options.number_topics)
    for run, path in ((before, options.before), (after, options.after)):
        check_ids(run, topics, path, options.topics)
    qrels = read_qrels(options.qrels) if options.qrels is not None else None
    if qrels is not None:
        check_ids(topics, qrels, options.topics)
        check_ids(before, qrels, options.before)
    for query in options.queries:
        if query not in topics or (query not in before and query not in after):
            raise UserError(f"query {query} is not in {options.topics}, or in neither run")
    chosen = changes(
        before, after, topics, depth=options.depth, most=options.most, queries=options.queries
    )  # fmt: skip
    if not chosen:
        raise UserError(f"{options.before} and {options.after} have no query with a text in common")
    score, mask = _scorer(options) if options.model is not None else (None, "")
    analyser = Analyser()
    collection = Collection(options.corpus, options.read)
    terms = {term for change in chosen for term in analyser.terms(change.text)}
    wanted = {move.document for change in chosen for move in change.moves(options.depth)}
    with progress(total=collection.total_bytes or None, label="reading", unit="bytes") as bar:  # type: ignore[var-annotated]

        def counted() -> Iterator["Document"]:
            for document in collection:
                yield document
                bar.advance(collection.bytes_read - bar.done)

        statistics, texts = gather(counted(), terms, wanted, analyser)
    if not texts:
        raise UserError(
            f"none of the {len(wanted):,} documents of {options.before} and {options.after} are in the "
            f"collection, such as {min(wanted)}: is it another collection?"
        )
    shown = []
    with progress(total=len(chosen) * options.explained, label="explaining", unit="documents") as steps:  # type: ignore[var-annotated]
        for number, change in enumerate(chosen, 1):
            found = []
            for one in explain(
                change, texts, statistics, analyser, depth=options.depth, ranks=options.moved,
                most=options.explained, score=score, mask=mask,
            ):  # fmt: skip
                found.append(one)
                steps.advance()
            steps.advance(number * options.explained - steps.done)  # fewer may have moved
            shown.append(dataclasses.replace(change, explained=found))
    first, second = names
    page(shown, Sheet((first, second), texts, analyser, options.depth, qrels)).save(options.out)
    missing = wanted - texts.keys()
    if missing:
        print(f"note: {len(missing):,} documents are not in the collection, such as {min(missing)}")
    print(options.out)
    return 0


def _scorer(options: Options) -> "tuple[Score, str]":
    """The re-ranker as a function of texts, and its mask."""
    import numpy as np

    from nonet.errors import UserError
    from prop_ir.model import load_ranker
    from prop_ir.scoring import Scorer

    ranker, tokenizer = load_ranker(str(options.model), head="require")
    if tokenizer.mask_token is None:
        raise UserError(
            f"{options.model}: its tokenizer has no mask, which words give way to; leave out --model"
        )
    scorer = Scorer(
        ranker, tokenizer, max_length=options.max_length, batch=options.batch, device=options.device
    )

    def score(query: str, documents: list[str]) -> list[float]:
        ids = tokenizer(
            [query, *documents], add_special_tokens=False, truncation=True, max_length=options.max_length
        )["input_ids"]
        pieces = [np.array(row, np.int64) for row in ids]
        pairs = [(0, number) for number in range(len(documents))]
        return [float(value) for value in scorer.score(pieces[:1], pieces[1:], pairs)]

    return score, str(tokenizer.mask_token)
