"""Collections of documents: files, folders and globs of many layouts, read one document at a time (ours).

    for document in Collection([Path("msmarco-docs.tsv.gz")]):
        print(document.id, document.text[:60])

Layouts: TREC (SGML, XML, HTML), JSON lines of Wikipedia, Anserini and BEIR, MS MARCO's tab-separated lines,
SMART, and whatever `ir_datasets:NAME` has; all but the last also packed as .gz or .zst.
"""

from collections import Counter
from collections.abc import Collection as Container
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nonet.data.text_decoding import encoding_name
from nonet.data.text_sources import Tally
from nonet.errors import UserError
from prop_ir.catalogue import PREFIX, Dataset
from prop_ir.documents import Document, unique
from prop_ir.layouts import Laid, find_files
from prop_ir.options import ReadOptions
from prop_ir.record_files import read_json, read_msmarco
from prop_ir.smart_files import read_smart
from prop_ir.trec_files import read_trec

__all__ = ["Collection", "Document", "texts_of"]

MENDED = {"invalid_utf8": "mended: invalid UTF-8", "nul": "mended: NUL characters"}


class Collection:
    """The documents of files, one after the other, with counts; it may be read more than once.

    Args:
        paths: files, folders (of BEIR, too), globs, `-` for standard input, `ir_datasets:NAME`.
        options: layout, fields, and what to do with what cannot be read.

    Attributes:
        total_bytes: on disk, of all files.

    Raises:
        UserError: a path is missing, or holds no documents in a known layout; while iterating, a bad record
            or a repeated id.
    """

    def __init__(self, paths: Sequence[Path | str], options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        encoding_name(self.options.encoding)
        if not paths:
            raise UserError("no collection: name at least one file, folder or glob")
        names = [str(path) for path in paths]
        self._datasets = [Dataset(name) for name in names if name.startswith(PREFIX)]
        files = [Path(name) for name in names if not name.startswith(PREFIX)]
        self._files: list[Laid] = []
        self._ignored = 0
        if files:
            self._files, self._ignored = find_files(files, self.options)
        self.total_bytes = sum(laid.source.size for laid in self._files)
        self._tally = self._new_tally()
        self._repeated: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Document]:
        """Read from the beginning; the counts start again."""
        self._tally = self._new_tally()
        self._repeated = Counter()
        return unique(self._documents(), self._repeated, self.options.on_error)

    @property
    def bytes_read(self) -> int:
        """Bytes on disk that the current or last pass has read."""
        return self._tally.bytes_read

    @property
    def counts(self) -> Counter[str]:
        """What the current or last pass has met, numbers above 0 only.

        Keys: `files`, `ignored files`, `documents` (repeated ones included), `duplicates`, `skipped: REASON`,
        `mended: invalid UTF-8`, `mended: NUL characters`.
        """
        tally = self._tally
        counts = Counter({name: tally.counts[name] for name in ("files", "ignored files", "documents")})
        counts.update({name: tally.counts[key] for key, name in MENDED.items()})
        counts.update({f"skipped: {reason}": number for reason, number in tally.skipped.items()})
        return +(counts + self._repeated)

    @property
    def examples(self) -> list[str]:
        """The messages of the first five records that were skipped, with file and line."""
        return self._tally.examples

    @property
    def source(self) -> dict[str, Any]:
        """What the collection is, as JSON values, for `build_store`."""
        names = [dataset.name for dataset in self._datasets]
        return {
            "files": len(self._files),
            "bytes": self.total_bytes,
            **({"datasets": names} if names else {}),
            "read": asdict(self.options),
        }

    def _documents(self) -> Iterator[Document]:
        tally = self._tally
        for laid in self._files:
            tally.counts["files"] += 1
            for document in _read(laid, tally, self.options):
                tally.counts["documents"] += 1
                yield document
        for dataset in self._datasets:
            for document in dataset.documents(tally, self.options):
                tally.counts["documents"] += 1
                yield document

    def _new_tally(self) -> Tally:
        tally = Tally("skip" if self.options.on_error == "skip" else "raise")
        tally.counts["ignored files"] = self._ignored
        return tally


def texts_of(
    paths: Sequence[Path | str], ids: Container[str], options: ReadOptions | None = None
) -> dict[str, str]:
    """The texts of some documents.

    Args:
        paths: of the collection; see `Collection`.
        ids: of the documents that are wanted.
        options: how it is read.

    Returns:
        Id -> text, in the collection's order; ids that it does not have are absent.
    """
    wanted = set(ids)
    found: dict[str, str] = {}
    for document in Collection(paths, options):
        if document.id in wanted:
            found[document.id] = document.text
            if len(found) == len(wanted):
                break
    return found


def _read(laid: Laid, tally: Tally, options: ReadOptions) -> Iterator[Document]:
    source, layout = laid
    if layout == "trec":
        return read_trec(source, tally, options)
    if layout == "smart":
        return read_smart(source, tally, options)
    if layout in ("msmarco", "passages"):
        return read_msmarco(source, tally, options, columns=4 if layout == "msmarco" else 2)
    return read_json(source, tally, options, in_lines=layout == "json lines")
