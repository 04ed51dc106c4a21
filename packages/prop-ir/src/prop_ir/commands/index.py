"""Index a collection for the first stage."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prop_ir.options import ReadOptions

if TYPE_CHECKING:
    from prop_ir.bm25 import Bm25Index
    from prop_ir.collections import Collection
    from prop_ir.lucene import LuceneIndex


@dataclass(frozen=True, kw_only=True)
class Options:
    """Index a collection for the first stage; by default BM25 as Lucene, Anserini and Pyserini have it."""

    corpus: tuple[Path, ...]
    """collection: files (also .gz or .zst), folders, globs, - for standard input, or ir_datasets:NAME"""
    out: Path
    """folder of the index"""
    engine: Literal["auto", "embedded", "lucene"] = "auto"
    """embedded, or auto: ours, without Java; lucene: Anserini, which needs Java 21 and the extra `pyserini`,
    for query likelihood, RM3 and use with Pyserini"""
    strict: bool = False
    """refuse to go on with the embedded engine where Lucene was asked for and Java or Anserini is missing"""
    k1: float = 0.9
    """of BM25: how late further occurrences of a term stop to count, 0 or more"""
    b: float = 0.4
    """of BM25: how much a document's length matters, 0 to 1"""
    variant: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene"
    """form of BM25; with Lucene the first one only"""
    delta: float = 0.5
    """of bm25l and bm25+: what an occurrence is worth at least"""
    lengths: Literal["lucene", "exact"] = "lucene"
    """lucene: document lengths are rounded as Lucene does, in one byte; exact: they are not"""
    words: Literal["lucene", "plain"] = "lucene"
    """lucene: words by Unicode's rules, without the possessive 's; plain: runs of letters and digits"""
    stemmer: str = "lucene"
    """lucene: Porter's program; none; or one of PyStemmer: porter, english, german, ...; Lucene itself has
    lucene, krovetz and none"""
    stop_words: str = "english"
    """words that are not indexed; english: Lucene's 33; none; or a file with one word a line"""
    overwrite: bool = False
    """replace an index that is in the folder"""
    read: ReadOptions = field(default_factory=ReadOptions)
    """how the collection is read"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if not self.k1 >= 0:
            raise UserError(f"k1 is {self.k1:g}; it is 0 or more")
        if not 0 <= self.b <= 1:
            raise UserError(f"b is {self.b:g}; it lies in [0, 1]")
        if not self.delta >= 0:
            raise UserError(f"delta is {self.delta:g}; it is 0 or more")


def run(options: Options) -> int:
    """Build the index and print the account."""
    from prop_ir.collections import Collection

    collection = Collection(options.corpus, options.read)
    for line in account(build(collection, options, options.out), collection):
        print(line)
    return 0


def build(collection: "Collection", options: Options, out: Path) -> "Bm25Index | LuceneIndex":
    """Index with the engine that the options name, or that takes its place."""
    import sys
    from functools import partial

    from nonet.cli.progress import progress
    from nonet.errors import UserError
    from prop_ir.analysis import Analyser, read_stop_words
    from prop_ir.bm25 import Bm25Index
    from prop_ir.first_stage import choose_engine
    from prop_ir.index_folder import check_place
    from prop_ir.lucene import LuceneIndex, check_stemmer

    note = partial(print, file=sys.stderr)
    stop_words = read_stop_words(options.stop_words)
    check_place(out, overwrite=options.overwrite)
    engine = choose_engine(options.engine, strict=options.strict, say=note)
    if engine == "lucene":
        for name in ("variant", "lengths", "words"):
            if getattr(options, name) != "lucene":
                raise UserError(f"--{name} {getattr(options, name)} belongs to the embedded engine")
        check_stemmer(options.stemmer)
    else:
        analyser = Analyser(words=options.words, stemmer=options.stemmer, stop_words=stop_words)
    with progress(total=collection.total_bytes or None, label="reading", unit="bytes") as bar:  # type: ignore[var-annotated]

        def advance(_: int) -> None:
            bar.advance(collection.bytes_read - bar.done)

        if engine == "lucene":
            return LuceneIndex.build(
                collection, out, k1=options.k1, b=options.b, stemmer=options.stemmer, stop_words=stop_words,
                overwrite=options.overwrite, progress=advance, note=note,
            )  # fmt: skip
        return Bm25Index.build(
            collection, out, analyser=analyser, k1=options.k1, b=options.b, variant=options.variant,
            delta=options.delta, lengths=options.lengths, overwrite=options.overwrite, progress=advance,
        )  # fmt: skip


def account(index: "Bm25Index | LuceneIndex", collection: "Collection") -> list[str]:
    """What a build has to say, as lines: sizes, and what was left out or mended."""
    from prop_ir.index_folder import LEFT_OUT

    counts = index.meta["counts"]
    sizes = (
        f", {counts['terms']:,} terms, mean length {counts['mean_length']:,.1f}" if "terms" in counts else ""
    )
    lines = [f"{index.folder}: {len(index):,} documents{sizes}"]
    met = {name: number for name, number in collection.counts.items() if name not in ("documents", "files")}
    lines += [f"  {name}: {number:,}" for name, number in sorted(met.items())]
    if counts["left_out"]:
        some = (index.folder / LEFT_OUT).read_text(encoding="utf-8").split("\n", 5)[:5]
        names = ", ".join(name for name in some if name)
        more = f" and {counts['left_out'] - 5:,} more" if counts["left_out"] > 5 else ""
        lines.append(f"  left out, as they have no words: {counts['left_out']:,} ({names}{more})")
    return lines + [f"  skipped: {message}" for message in collection.examples]
