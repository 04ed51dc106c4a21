"""Retrieve candidates with BM25."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prop_ir.options import ReadOptions

if TYPE_CHECKING:
    from prop_ir.bm25 import Bm25Index
    from prop_ir.lucene import LuceneIndex
    from prop_ir.runs import Run


@dataclass(frozen=True, kw_only=True)
class Options:
    """Retrieve candidates with BM25, from an index or from a collection that is indexed for this once."""

    topics: Path
    """queries: lines of id and text with a tab, TREC topics, BEIR's queries.jsonl, or ir_datasets:NAME"""
    out: Path
    """run file, also .gz or .zst"""
    index: Path | None = None
    """folder that `index` made"""
    corpus: tuple[Path, ...] = ()
    """collection instead of an index: files, folders, globs or ir_datasets:NAME"""
    field: str = "title"
    """part of TREC topics: title, desc or narr; several joined by +, as in title+desc"""
    number_topics: Literal["file", "position"] = "file"
    """position: number the topics 1, 2, ..., as the judgements of Cranfield do"""
    hits: int = 1000
    """documents a query, at most"""
    tag: str = "bm25"
    """name of the run, in its last column"""
    scoring: Literal["bm25", "ql"] = "bm25"
    """ql: query likelihood with Dirichlet smoothing, which a Lucene index has"""
    k1: float | None = None
    """of BM25; none: that of the index, or 0.9. An embedded index cannot change it"""
    b: float | None = None
    """of BM25; none: that of the index, or 0.4. An embedded index cannot change it"""
    mu: float = 1000.0
    """of query likelihood: pseudo-occurrences from the collection"""
    rm3: bool = False
    """expand queries by pseudo-relevance feedback, which a Lucene index has"""
    engine: Literal["auto", "embedded", "lucene"] = "auto"
    """what indexes --corpus; auto: embedded, without Java"""
    strict: bool = False
    """refuse to go on with the embedded engine where Lucene was asked for and Java or Anserini is missing"""
    workers: int = 0
    """processes that search, or threads of Lucene; 0: this process, or one thread a core"""
    read: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    """how --corpus is read"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if (self.index is None) == (not self.corpus):
            raise UserError("give either --index INDEX or --corpus COLLECTION")
        for name, least in (("hits", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")
        if self.tag.split() != [self.tag]:
            raise UserError(
                f"tag {self.tag!r} cannot stand in a run file, whose columns are separated by blanks"
            )
        if not self.mu > 0:
            raise UserError(f"mu is {self.mu:g}; it is positive")
        if self.k1 is not None and not self.k1 >= 0:
            raise UserError(f"k1 is {self.k1:g}; it is 0 or more")
        if self.b is not None and not 0 <= self.b <= 1:
            raise UserError(f"b is {self.b:g}; it lies in [0, 1]")


def run(options: Options) -> int:
    """Search, write the run and print the account."""
    import tempfile

    from nonet.errors import UserError
    from prop_ir.collections import Collection
    from prop_ir.commands import index as indexing
    from prop_ir.first_stage import open_index
    from prop_ir.runs import write_run
    from prop_ir.topics import read_topics

    if options.out.is_dir():
        raise UserError(f"{options.out} is a folder; name a file for the run")
    with tempfile.TemporaryDirectory(prefix="prop-ir-") as folder:
        index: Bm25Index | LuceneIndex
        if options.index is not None:
            index = open_index(options.index)
            _check(options, index)
            topics = read_topics(options.topics, options.field, options.number_topics)
        else:
            asks_lucene = bool(_only_lucene(options))
            if asks_lucene and options.engine != "lucene":
                raise UserError(f"{_only_lucene(options)} needs Lucene: add --engine lucene")
            collection = Collection(options.corpus, options.read)
            topics = read_topics(options.topics, options.field, options.number_topics)
            out = Path(folder) / "index"
            settings = indexing.Options(
                corpus=options.corpus, out=out, engine=options.engine, strict=options.strict or asks_lucene,
                k1=0.9 if options.k1 is None else options.k1, b=0.4 if options.b is None else options.b,
            )  # fmt: skip
            index = indexing.build(collection, settings, out)
        found = _search(options, index, topics)
    write_run(options.out, found, options.tag)
    nothing = [query for query, documents in found.items() if not documents]
    pairs = sum(map(len, found.values()))
    print(f"{options.out}: {len(found) - len(nothing):,} queries, {pairs:,} documents")
    if nothing:
        more = " ..." if len(nothing) > 5 else ""
        print(f"  found nothing for {len(nothing):,} queries: {', '.join(nothing[:5])}{more}")
    return 0


def _only_lucene(options: Options) -> str:
    """The option that only a Lucene index can follow, if there is one."""
    return "--scoring ql" if options.scoring == "ql" else "--rm3" if options.rm3 else ""


def _check(options: Options, index: "Bm25Index | LuceneIndex") -> None:
    """Refuse what an embedded index cannot do."""
    from nonet.errors import UserError
    from prop_ir.lucene import LuceneIndex

    if isinstance(index, LuceneIndex):
        return
    if asked := _only_lucene(options):
        raise UserError(f"{asked} needs an index of Lucene: prop-ir index --engine lucene")
    for name in ("k1", "b"):
        wanted, there = getattr(options, name), index.meta[name]
        if wanted is not None and wanted != there:
            raise UserError(
                f"--{name} {wanted:g}: {index.folder} was made with {there:g}, which its weights contain; "
                f"index again with --{name} {wanted:g}"
            )


def _search(options: Options, index: "Bm25Index | LuceneIndex", topics: dict[str, str]) -> "Run":
    from nonet.cli.progress import progress
    from prop_ir.lucene import LuceneIndex

    if isinstance(index, LuceneIndex):
        return index.search(
            topics, options.hits, scoring=options.scoring, k1=options.k1, b=options.b, mu=options.mu,
            rm3=options.rm3, threads=options.workers or None,
        )  # fmt: skip
    with progress(total=len(topics), label="searching", unit="queries") as bar:  # type: ignore[var-annotated]
        return index.search(topics, options.hits, workers=options.workers, progress=bar.advance)
