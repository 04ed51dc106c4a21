"""BM25 without a server or Java: an index folder in the layout of bm25s, with Lucene's weights by default.

Every term's weight in every document is computed when the index is made (the idea of bm25s: Lu 2024, "BM25S:
orders of magnitude faster lexical search via eager sparse scoring"), so that a search adds up a few columns.
The files are those of bm25s, whose `BM25.load(folder)` opens the folder as well; on top of it come document
ids, a fixed order of ties, collections larger than memory, and what Lucene's weights need (`analysis`,
`weighting`). With the default settings rankings are those of Anserini's BM25, to its four printed decimals.

Limits: ids and all different terms have to fit into memory, about 150 bytes each; counting takes another
1.2 GB (more where hardly a word is repeated), whatever the size of the collection. The columns, 8 bytes for
each pair of term and document, are on the disk: they are written once, without a copy in memory, and mapped
in a search.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nonet.data.parallel import ordered_map
from nonet.errors import UserError
from prop_ir import weighting
from prop_ir.analysis import Analyser
from prop_ir.bm25_files import ABSENT, BEGINS, ID_ENDS, IDS, ROWS, TERMS, TIES, WEIGHTS, write_files
from prop_ir.documents import Document
from prop_ir.index_folder import new_index, read_json, read_meta, write_meta
from prop_ir.postings import IN_MEMORY, Postings
from prop_ir.runs import Run
from prop_ir.weighting import Lengths, Variant

ENGINE = "embedded"

QUERIES_AT_ONCE = 8  # sent to a worker


class Hits(NamedTuple):
    """What one query found."""

    rows: NDArray[np.int64]
    """(h,) documents, the best first"""
    scores: NDArray[np.float32]
    """(h,) their scores, all positive"""


class Bm25Index:
    """An index on the disk; it pickles as its folder."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder, self.meta = folder, meta
        self.analyser = Analyser.of(meta["analyser"])

    @classmethod
    def build(
        cls,
        collection: Iterable[Document],
        folder: Path | str,
        *,
        analyser: Analyser | None = None,
        k1: float = 0.9,
        b: float = 0.4,
        variant: Variant = "lucene",
        delta: float = 0.5,
        lengths: Lengths = "lucene",
        overwrite: bool = False,
        in_memory: int = IN_MEMORY,
        progress: Callable[[int], None] | None = None,
    ) -> "Bm25Index":
        """Index documents; the same documents and settings give the same bytes.

        Documents without a term are left out of all counts, as Lucene leaves them out, and listed in
        `left_out.txt`.

        Args:
            collection: the documents.
            folder: where the index goes.
            analyser: what a term is; None for Lucene's English default.
            k1: how late further occurrences of a term stop to count, 0 or more.
            b: how much a document's length matters, 0 to 1.
            variant: form of BM25, see `weighting`.
            delta: of bm25l and bm25+.
            lengths: `lucene` rounds lengths as Lucene does, `exact` does not.
            overwrite: whether an index that is there gives way.
            in_memory: words that are counted at once.
            progress: called with the number of documents that were read.

        Raises:
            UserError: bad settings, nothing to index, two documents of the same id, or no place for it.
        """
        weighting.check(variant, k1, b, delta)
        if lengths not in ("lucene", "exact"):
            raise UserError(f"lengths {lengths!r} is unknown; there are lucene, exact")
        analyser = analyser or Analyser()
        settings = {"variant": variant, "k1": k1, "b": b, "delta": delta, "lengths": lengths}
        with new_index(folder, overwrite=overwrite) as part:
            batches = part / "batches"
            batches.mkdir()
            postings = Postings(analyser, batches, in_memory=in_memory)
            names = []
            for document in collection:
                postings.add(document.text)
                names.append(document.id)
                if progress is not None:
                    progress(1)
            counts = write_files(part, postings, names, settings)
            shutil.rmtree(batches)
            files = {path.name: path for path in sorted(part.iterdir())}
            meta = {"engine": ENGINE, **settings, "analyser": analyser.settings, "counts": counts}
            write_meta(part, meta, files)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path | str, *, verify: bool = False) -> "Bm25Index":
        """Open an index; the arrays are mapped, not read.

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

    def __reduce__(self) -> Any:
        return Bm25Index.load, (self.folder,)

    def __len__(self) -> int:
        return int(self.meta["counts"]["documents"])

    def search(
        self,
        queries: Mapping[str, str],
        hits: int = 1000,
        *,
        workers: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> Run:
        """The best documents of each query; only those with one of its terms, and a score above 0.

        Equal scores are in the order of the document ids as texts, as in Anserini. A query without known
        terms finds nothing. A term that a query has twice counts twice.

        Args:
            queries: query id -> text.
            hits: documents a query, at most.
            workers: processes; 0 searches in this one. The result is the same.
            progress: called with the number of queries that were searched.

        Returns:
            Query id -> document id -> score, both in order.

        Raises:
            UserError: fewer than one hit asked for.
        """
        if hits < 1:
            raise UserError(f"hits is {hits}; it is 1 or more")
        if len(queries) * min(hits, len(self)) > len(self):
            _ = self.all_names
        ask = _Ask(self, hits)
        found = ordered_map(ask, queries.values(), workers=workers, chunk=QUERIES_AT_ONCE)
        run: Run = {}
        for query, (rows, scores) in zip(queries, found, strict=True):
            run[query] = dict(zip(self.names(rows), scores.tolist(), strict=True))
            if progress is not None:
                progress(1)
        return run

    def top(self, terms: Sequence[str], hits: int) -> Hits:
        """The best documents for some terms.

        Args:
            terms: as the index's analyser writes them; unknown ones are left out.
            hits: documents at most.
        """
        known = [self.terms[term] for term in terms if term in self.terms]
        scores = np.zeros(len(self), np.float32)
        for term in known:
            column = slice(self.begins[term], self.begins[term + 1])
            np.add.at(scores, self.rows[column], self.weights[column])
        rows = np.flatnonzero(scores > 0)
        found = scores[rows]
        if len(rows) > hits:
            least = np.partition(found, len(found) - hits)[len(found) - hits]
            rows, found = rows[found >= least], found[found >= least]
        order = np.lexsort((self.ties[rows], -found))[:hits]
        found = found[order]
        if self.absent is not None:
            found = found + self.absent[known].sum(dtype=np.float32)
        return Hits(rows[order], found)

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """The ids of documents."""
        if "all_names" in self.__dict__:
            return [self.all_names[row] for row in rows.tolist()]
        text: Any = memoryview(self.ids)  # type: ignore[arg-type]
        begins, ends = self.id_ends[rows].tolist(), self.id_ends[rows + 1].tolist()
        return [str(text[begin:end], "utf-8") for begin, end in zip(begins, ends, strict=True)]

    @cached_property
    def all_names(self) -> list[str]:
        """The ids of all documents, which pays where more than these are looked up."""
        return self.names(np.arange(len(self)))

    @cached_property
    def terms(self) -> dict[str, int]:
        """Term -> its column."""
        return read_json(self.folder / TERMS)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(postings,) weights, column after column."""
        return self._array(WEIGHTS)

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """(postings,) their documents."""
        return self._array(ROWS)

    @cached_property
    def begins(self) -> NDArray[np.int64]:
        """(terms + 1,) where each column begins."""
        return self._array(BEGINS)

    @cached_property
    def absent(self) -> NDArray[np.float32] | None:
        """(terms,) what a query's term adds to every document; None unless bm25l or bm25+."""
        return self._array(ABSENT) if ABSENT in self.meta["files"] else None

    @cached_property
    def ties(self) -> NDArray[np.int32]:
        """(documents,) each document's place in the order of ids."""
        return self._array(TIES)

    @cached_property
    def ids(self) -> NDArray[np.uint8]:
        """Document ids in UTF-8, one after the other."""
        return self._array(IDS)

    @cached_property
    def id_ends(self) -> NDArray[np.int64]:
        """(documents + 1,) where each of them begins."""
        return self._array(ID_ENDS)

    def _array(self, name: str) -> Any:
        path = self.folder / name
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}); index again") from error
        return mapped.view(np.ndarray)  # slices of a plain array are made faster


class _Ask:
    """Searches one query; carries the index to a worker as its folder."""

    def __init__(self, index: Bm25Index, hits: int) -> None:
        self.index, self.hits = index, hits

    def __call__(self, text: str) -> Hits:
        return self.index.top(self.index.analyser.terms(text), self.hits)
