"""The first stage by Lucene itself: Anserini's IndexCollection and SearchCollection, in their own process.

For those who compare with Pyserini, and for query likelihood and RM3. An index is a folder with `meta.json`
and Lucene's index in `lucene/`, which Pyserini's LuceneSearcher opens as well. Documents are handed over as
JSON lines in a temporary folder. Blanks and percent signs in ids are written as %20 and so on, as Anserini's
run files have columns separated by blanks; queries are numbered. Both are turned back in what comes out.
"""

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from nonet.errors import UserError
from nonet.files import write_text
from prop_ir import weighting
from prop_ir.analysis import STOP_WORDS
from prop_ir.documents import Document, unique
from prop_ir.index_folder import LEFT_OUT, new_index, read_meta, write_meta
from prop_ir.java import failed, find_jar, find_java, run_java
from prop_ir.runs import Run

ENGINE = "lucene"
STEMMERS = {"lucene": "porter", "porter": "porter", "krovetz": "krovetz", "none": "none"}

LUCENE, LOG, STOP_FILE = "lucene", "index.log", "stop_words.txt"
_PER_FILE = 5_000  # documents; a file is read by one thread
_BUFFER = 512  # MB that Lucene gathers before it writes a segment
_INDEXER, _SEARCHER = "io.anserini.index.IndexCollection", "io.anserini.search.SearchCollection"
_SO_FAR = re.compile(r"% of files completed, ([\d,]+) documents indexed")
_COUNTER = re.compile(r" (indexed|unindexable|empty|skipped|errors): +([\d,]+)$")

Scoring = Literal["bm25", "ql"]


class LuceneIndex:
    """A Lucene index on the disk."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder, self.meta = folder, meta

    @classmethod
    def build(
        cls,
        collection: Iterable[Document],
        folder: Path | str,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        stemmer: str = "lucene",
        stop_words: Collection[str] = STOP_WORDS,
        overwrite: bool = False,
        threads: int | None = None,
        progress: Callable[[int], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> "LuceneIndex":
        """Index documents; those without a text are left out, and listed in `left_out.txt`.

        Args:
            collection: the documents.
            folder: where the index goes.
            k1: of BM25, unless a search names another.
            b: of BM25, likewise.
            stemmer: `lucene` or `porter` (the same), `krovetz`, or `none`.
            stop_words: lower-cased words that are left out.
            overwrite: whether an index that is there gives way.
            threads: that index; None for one a core.
            progress: called with the number of documents that were handed over.
            note: called once a minute with how far Lucene is, as a text.

        Raises:
            UserError: no Java or Anserini (JavaMissing), bad settings, or nothing to index.
            RunFailed: Lucene could not index all documents.
        """
        check_stemmer(stemmer)
        weighting.check("lucene", k1, b, 0)
        java, jar = find_java(), find_jar()
        settings = {"k1": k1, "b": b, "stemmer": stemmer, "stop_words": sorted(stop_words)}
        with new_index(folder, overwrite=overwrite) as part:
            with tempfile.TemporaryDirectory(dir=part) as handed:
                written, empty = _hand_over(collection, Path(handed), progress)
                if not written:
                    raise UserError(
                        f"none of {len(empty):,} documents has a text" if empty else "no documents"
                    )
                words = [
                    "-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator",
                    "-input", handed, "-index", part / LUCENE, "-threads", threads or os.cpu_count() or 1,
                    "-memoryBuffer", _BUFFER, "-storeDocvectors", *_analysis(settings, part),
                ]  # fmt: skip
                said: Counter[str] = Counter()

                def listen(line: str) -> None:
                    if found := _COUNTER.search(line):
                        said[found[1]] = int(found[2].replace(",", ""))
                    elif note is not None and (found := _SO_FAR.search(line)):
                        note(f"Lucene: {found[1]} of {written:,} documents")

                run_java(java, jar, _INDEXER, words, log=part / LOG, on_line=listen)
                if said["indexed"] != written:
                    what = f"{said['indexed']:,} of {written:,} documents were indexed"
                    raise failed(_INDEXER, part / LOG, what)
            write_text(part / LEFT_OUT, "".join(f"{name}\n" for name in empty))
            paths = [path for path in sorted(part.rglob("*")) if path.is_file() and path.name != "write.lock"]
            meta = {
                "engine": ENGINE, **settings, "counts": {"documents": written, "left_out": len(empty)},
                "java": java.version, "jar": jar.name,
            }  # fmt: skip
            write_meta(part, meta, {path.relative_to(part).as_posix(): path for path in paths})
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path | str, *, verify: bool = False) -> "LuceneIndex":
        """Open an index.

        Args:
            folder: of the index.
            verify: read all files and compare checksums.

        Raises:
            UserError: no index, one of another engine, or a damaged one.
        """
        folder = Path(folder)
        meta = read_meta(folder, verify=verify)
        if meta["engine"] != ENGINE:
            raise UserError(f"{folder} is an index of the engine {meta['engine']}, not of {ENGINE}")
        return cls(folder, meta)

    def __len__(self) -> int:
        return int(self.meta["counts"]["documents"])

    def search(
        self,
        queries: Mapping[str, str],
        hits: int = 1000,
        *,
        scoring: Scoring = "bm25",
        k1: float | None = None,
        b: float | None = None,
        mu: float = 1000.0,
        rm3: bool = False,
        threads: int | None = None,
    ) -> Run:
        """The best documents of each query; equal scores are in the order of the document ids as texts.

        Args:
            queries: query id -> text.
            hits: documents a query, at most.
            scoring: `bm25`, or `ql` for query likelihood with Dirichlet smoothing.
            k1: of BM25; None for the index's.
            b: of BM25; None for the index's.
            mu: of query likelihood: pseudo-occurrences from the collection.
            rm3: expand queries by RM3, with Anserini's settings.
            threads: that search; None for one a core.

        Returns:
            Query id -> document id -> score, both in order.

        Raises:
            UserError: no Java or Anserini (JavaMissing), or settings out of range.
            RunFailed: Lucene failed.
        """
        for name, value, fits in (("hits", hits, hits >= 1), ("mu", mu, mu > 0)):
            if not fits:
                raise UserError(f"{name} is {value:g}; it is {'1 or more' if name == 'hits' else 'positive'}")
        java, jar = find_java(), find_jar()
        run: Run = {query: {} for query in queries}
        ids = list(queries)
        asked = {n: " ".join(queries[query].split()) for n, query in enumerate(ids)}
        lines = [f"{n}\t{text}\n" for n, text in asked.items() if text]
        if not lines:
            return run
        if scoring == "bm25":
            k1, b = (self.meta[name] if value is None else value for name, value in (("k1", k1), ("b", b)))
            ranking = ["-bm25", "-bm25.k1", k1, "-bm25.b", b]
        else:
            ranking = ["-qld", "-qld.mu", mu]
        with tempfile.TemporaryDirectory(prefix="prop-ir-") as name:
            folder = Path(name)
            write_text(folder / "topics.tsv", "".join(lines))
            words = [
                "-index", self.folder / LUCENE, "-topics", folder / "topics.tsv", "-topicReader", "TsvInt",
                "-hits", hits, "-threads", threads or os.cpu_count() or 1, "-output", folder / "run",
                *ranking, *(["-rm3"] if rm3 else []), *_analysis(self.meta, self.folder),
            ]  # fmt: skip
            run_java(java, jar, _SEARCHER, words, log=folder / "log")
            if not (folder / "run").exists():  # it ends with 0 where it refuses its arguments, too
                raise failed(_SEARCHER, folder / "log", "it wrote no run")
            with open(folder / "run", encoding="utf-8") as rows:
                for row in rows:
                    number, _, document, _, score, _ = row.split(" ")
                    run[ids[int(number)]][unquote(document)] = float(score)
        return run


def check_stemmer(name: str) -> None:
    """Refuse stemmers that Lucene's English analysis does not have.

    Raises:
        UserError: the text names those that it has.
    """
    if name not in STEMMERS:
        raise UserError(f"stemmer {name!r} is none of Lucene's; there are {', '.join(STEMMERS)}")


def _hand_over(
    collection: Iterable[Document], folder: Path, progress: Callable[[int], None] | None
) -> tuple[int, list[str]]:
    """Write documents as Anserini reads them; how many they are, and the ids of those without text."""
    empty: list[str] = []
    written = 0
    documents = unique(collection, Counter(), "fail")
    for number in count():
        some = list(islice(documents, _PER_FILE))
        with open(folder / f"{number:06}.jsonl", "w", encoding="utf-8", errors="replace") as file:
            for document in some:
                if document.text.strip():
                    row = {"id": _safe(document.id), "contents": document.text}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    written += 1
                else:
                    empty.append(document.id)
                if progress is not None:
                    progress(1)
        if len(some) < _PER_FILE:
            break
    return written, empty


def _analysis(settings: Mapping[str, Any], folder: Path) -> list[object]:
    """The words of a command line for stemmer and stop words."""
    words: list[object] = ["-stemmer", STEMMERS[settings["stemmer"]]]
    if not settings["stop_words"]:
        words.append("-keepStopwords")
    elif set(settings["stop_words"]) != STOP_WORDS:
        path = folder / STOP_FILE
        if not path.exists():
            write_text(path, "".join(f"{word}\n" for word in settings["stop_words"]))
        words += ["-stopwords", path]
    return words


def _safe(name: str) -> str:
    """An id without blanks; `unquote` turns it back."""
    return re.sub(
        r"[\s%\x00-\x1f\x7f]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name
    )
