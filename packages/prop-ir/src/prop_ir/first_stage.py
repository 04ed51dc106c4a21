"""The engines of the first stage behind one door: which to use, and opening an index of either (ours)."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from prop_ir import lucene
from prop_ir.bm25 import Bm25Index
from prop_ir.index_folder import read_meta
from prop_ir.java import JavaMissing, find_jar, find_java
from prop_ir.lucene import LuceneIndex

Engine = Literal["auto", "embedded", "lucene"]


def choose_engine(
    engine: Engine, *, strict: bool = False, say: Callable[[str], None] = print
) -> Literal["embedded", "lucene"]:
    """The engine to use: `auto` is the embedded one, and Lucene gives way to it where Java is missing.

    Args:
        engine: what was asked for.
        strict: whether a missing Java is an error.
        say: where to say that Lucene gives way, and why.

    Raises:
        JavaMissing: Lucene was asked for strictly, and there is no Java 21 or no Anserini.
    """
    if engine != "lucene":
        return "embedded"
    try:
        find_java()
        find_jar()
    except JavaMissing as error:
        if strict:
            raise
        say(f"{error}; using the embedded engine instead, whose BM25 is the same")
        return "embedded"
    return "lucene"


def open_index(folder: Path | str, *, verify: bool = False) -> Bm25Index | LuceneIndex:
    """Open an index of whatever engine.

    Args:
        folder: of the index.
        verify: read all files and compare checksums.

    Raises:
        UserError: no index, or a damaged one.
    """
    kind = LuceneIndex if read_meta(Path(folder))["engine"] == lucene.ENGINE else Bm25Index
    return kind.load(folder, verify=verify)
