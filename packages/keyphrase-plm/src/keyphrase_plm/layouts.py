"""Documents of every layout that keyphrase data comes in, found from the file; two that fit are an error.

    reader = read_documents(["train_src.txt"])
    for document in reader: ...
    print(reader.describe())

Ours. The layouts of records are in `record_layouts`, those of lines in `line_layouts`, folders and zips in
`folder_layout`. Everything streams.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from keyphrase_plm import folder_layout, line_layouts
from keyphrase_plm.documents import Document
from keyphrase_plm.presence import Stem, split, stemmer
from keyphrase_plm.raw_documents import NO_FIELDS, Fields, Raw
from keyphrase_plm.record_layouts import READ, matching
from keyphrase_plm.sequences import words_of
from nonet.data.text import TextReader
from nonet.data.text_sources import STDIN, find_sources
from nonet.errors import UserError

Format = Literal[
    "auto", "canonical", "abstract", "oagk", "stackex", "openkp", "ldkp", "midas", "fields",
    "parallel", "lines", "text", "folder",
]  # fmt: skip
FORMATS: tuple[str, ...] = ("auto", *READ, "parallel", "lines", "text", "folder")

PLAIN = "documents of plain text (words and signs set apart, as prepare does)"
LOOKED_AT = 20  # records of a file from which its layout is found


def read_documents(
    paths: Sequence[Path | str] | Path | str,
    *,
    format: str = "auto",
    title_field: str | None = None,
    text_field: str | None = None,
    keywords_field: str | None = None,
    stem: Stem | None = None,
    limit: int | None = None,
    on_bad: Literal["raise", "skip"] = "raise",
) -> "Reader":
    """The documents of files, folders, globs and `-`.

    Args:
        paths: for parallel lines, the file of sources; that of the phrases is found beside it (`X_src.txt`
            and `X_trg.txt`, `X_context.txt` and `X_allkeywords.txt`, `X.source` and `X.target`).
        format: a layout of `FORMATS`, for all files.
        title_field: the field of the title, for records that fit no layout.
        text_field: the field of the text.
        keywords_field: the field of the phrases.
        stem: by which phrases are looked for where the file does not tell present from absent; Porter's by
            default.
        limit: documents to stop after.
        on_bad: `"skip"` leaves out records that cannot be read and counts them.

    Raises:
        UserError: nothing to read, or an unknown format; while iterating, a bad file or record, or two
            layouts that fit.
    """
    named = [paths] if isinstance(paths, Path | str) else list(paths)
    fields = Fields(title_field, text_field, keywords_field)
    return Reader([Path(path) for path in named], format, fields, stem, limit, on_bad)


class Reader:
    """What `read_documents` returns; iterate as often as you like.

    Attributes:
        counts: what the current or last pass has met: `documents`, and in words whatever was odd.
        layouts: layout by file, as far as the pass has come.
    """

    def __init__(
        self,
        paths: list[Path],
        format: str = "auto",
        fields: Fields = NO_FIELDS,
        stem: Stem | None = None,
        limit: int | None = None,
        on_bad: Literal["raise", "skip"] = "raise",
    ) -> None:
        if format not in FORMATS:
            raise UserError(f"unknown format {format!r}; choose one of {', '.join(FORMATS)}")
        if any(fields) and format not in ("auto", "fields"):
            raise UserError(f"fields are named, and the format is {format}, which has its own; leave one out")
        if limit is not None and limit < 0:
            raise UserError(f"limit is {limit}; it cannot be negative")
        self.format, self.fields, self.limit, self.on_bad = format, fields, limit, on_bad
        self.files = _expanded(paths, format)
        self._kinds = [_by_name(path) if format == "auto" else format for path in self.files]
        self.counts: Counter[str] = Counter()
        self.layouts: dict[str, str] = {}
        self._stem = stem

    def __iter__(self) -> Iterator[Document]:
        """The documents; those of files that do not tell present from absent are split by the token rule."""
        stem = self._stem or stemmer("porter")
        for raw in self.raw():
            yield _parted(raw, stem)

    def prepared(self, *, gold: bool = True) -> Iterator[Document]:
        """The documents as models read them: words and signs stand apart.

        Those of layouts of plain text go through the recipe `ours` of `prepare` and are counted; those whose
        words stand apart already are what iteration gives.

        Args:
            gold: without, the phrases are left out, whatever is wrong with them.
        """
        from keyphrase_plm.preparation import Preparation

        stem, prepare = self._stem or stemmer("porter"), Preparation(escape=True)
        for raw in self.raw():
            if not gold:
                raw = raw._replace(phrases=(), present=(), absent=())
            if raw.tokenised:
                yield _parted(raw, stem)
            else:
                self.counts[PLAIN] += 1
                yield prepare(raw).document

    def raw(self) -> Iterator[Raw]:
        """The documents as the files have them, with ids; the counts begin again.

        A document without an id gets its number, counted from 1 over all files. An id that was there before
        is made another one by a number and counted; in canonical files it is an error.
        """
        self.counts = Counter()
        self.layouts = {}
        seen: set[int] = set()  # hashes, as ids of millions of documents are many bytes
        for raw in itertools.islice(self._found(), self.limit):
            self.counts["documents"] += 1
            key = raw.id or str(self.counts["documents"])
            if hash(key) in seen:
                key = self._other(key, raw, seen)
            seen.add(hash(key))
            yield raw._replace(id=key)

    def describe(self) -> str:
        """The counts of the current or last pass in one line."""
        kinds = ", ".join(dict.fromkeys(self.layouts.values())) or "nothing read"
        files = len(self.layouts)
        odd = [f"{what}: {number:,}" for what, number in self.counts.items() if what != "documents"]
        head = f"{self.counts['documents']:,} documents of {files:,} file{'s' * (files != 1)} ({kinds})"
        return "; ".join([head, *odd])

    def _other(self, key: str, raw: Raw, seen: set[int]) -> str:
        if self.layouts and list(self.layouts.values())[-1] == "canonical":
            raise UserError(f"{raw.where}: the id {key!r} was there before; every document needs its own")
        self.counts["ids that came twice (numbered)"] += 1
        return next(f"{key}#{n}" for n in itertools.count(2) if hash(f"{key}#{n}") not in seen)

    def _found(self) -> Iterator[Raw]:
        for path, kind in zip(self.files, self._kinds, strict=True):
            if kind == "folder":
                self.layouts[str(path)] = kind
                yield from folder_layout.folder(path, self.counts)
            elif kind in ("parallel", "lines", "text"):
                self.layouts[str(path)] = kind
                yield from self._of_text(path, kind)
            else:
                yield from self._of_records(path, kind)

    def _of_text(self, path: Path, kind: str) -> Iterator[Raw]:
        if kind == "lines":
            return line_layouts.lines(path, self.counts)
        if kind == "text":
            return line_layouts.text_file(path, self.counts)
        target = line_layouts.target_of(path)
        if target is None or not target.is_file():
            names = "X_src.txt and X_trg.txt, X_context.txt and X_allkeywords.txt, or X.source and X.target"
            raise UserError(f"{path}: its file of phrases is missing; parallel files are called {names}")
        return line_layouts.parallel(path, target, self.counts)

    def _of_records(self, path: Path, kind: str) -> Iterator[Raw]:
        reader = TextReader([path], on_bad=self.on_bad, format="jsonl" if path == STDIN else None)
        records = iter(reader)
        first = list(itertools.islice(records, LOOKED_AT))
        if kind == "auto" and first:
            found = matching(first, self.fields)
            if not found:
                there = ", ".join(first[0].fields) or "none"
                raise UserError(
                    f"{first[0].where}: no known layout has the fields {there}; name them with --text-field, "
                    f"--title-field and --keywords-field, or choose --format {'|'.join(READ)}"
                )
            if len(found) > 1:
                raise UserError(
                    f"{path}: the layouts {' and '.join(found)} both fit; choose one with --format"
                )
            kind = found[0]
        self.layouts[str(path)] = kind if first else "empty"
        for record in itertools.chain(first, records):
            yield READ[kind](record, self.counts, self.fields)
        for name in ("skipped", "invalid_utf8", "nul"):
            if reader.counts[name]:
                self.counts[_SAID[name]] += reader.counts[name]


def _parted(raw: Raw, stem: Stem) -> Document:
    """A document with its phrases told apart by the token rule, if its file does not."""
    present, absent = list(raw.present), list(raw.absent)
    if not raw.split and raw.phrases:
        parted = str.split if raw.tokenised else words_of
        words = [*parted(raw.title), *parted(raw.body)]
        joined = {phrase: " ".join(parted(phrase)) for phrase in raw.phrases}
        there = set(split(words, list(joined.values()), stem)[0])
        present = [phrase for phrase in raw.phrases if joined[phrase] in there]
        absent = [phrase for phrase in raw.phrases if joined[phrase] not in there]
    return Document(raw.id, raw.title, raw.body, tuple(present), tuple(absent), raw.where)


_SAID = {
    "skipped": "records that cannot be read (left out)",
    "invalid_utf8": "bytes that are not UTF-8 (replaced)",
    "nul": "NUL characters (removed)",
}


def _by_name(path: Path) -> str:
    """The layout of a file by its name: folder, parallel, lines, or auto for records."""
    if path.suffix.lower() == ".zip" or path.is_dir():
        return "folder"
    target = line_layouts.target_of(path)
    if target is not None:
        return "parallel" if target.is_file() else "lines"
    if ".txt" in [suffix.lower() for suffix in path.suffixes[-2:]]:
        raise UserError(
            f"{path}: a document a line, or one document? choose --format lines or --format text; a file with"
            " phrases in another beside it is called X_src.txt, that of the phrases X_trg.txt"
        )
    return "auto"


def _expanded(paths: list[Path], format: str) -> list[Path]:
    """Data sets in folders and zips, and the files of other folders; phrases go with their source."""
    found: list[Path] = []
    for path in paths:
        if not path.exists() and path != STDIN and not any(c in str(path) for c in "*?["):
            formats = ".jsonl, .json, .csv, .tsv, .parquet, _src.txt with _trg.txt, .zip, docsutf8/"
            raise UserError(f"{path}: no such file or folder; documents are read from {formats}")
        if folder_layout.is_folder(path) or path.suffix.lower() == ".zip" or format == "folder":
            found.append(path)
        elif path.is_file():
            source = line_layouts.source_of(path)
            if source is not None:
                raise UserError(
                    f"{path}: these are the phrases; name the file of the documents, {source.name}"
                )
            found.append(path)
        elif path == STDIN:
            found.append(path)
        else:
            sources, _ = find_sources([path])
            names = [source.path for source in sources]
            found += [name for name in names if line_layouts.source_of(name) not in names]
    if not found:
        raise UserError("no input: name at least one file, folder, zip, glob, or - for standard input")
    return found
