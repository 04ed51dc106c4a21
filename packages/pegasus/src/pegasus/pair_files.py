"""The files behind document-summary pairs, as one stream of records: structured text, TFRecord, parallel
files, AESLC's.

Which of them a path is, its name says; a folder is what it contains.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nonet.data.text import Record, TextReader
from nonet.errors import UserError

_TFRECORD = re.compile(r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?$")
_PACKED = re.compile(r"\.(gz|zst)$")
_PARTNERS = (
    (".source", ".target"),
    (".src", ".tgt"),
    ("_src.txt", "_trg.txt"),
    ("_src.txt", "_tgt.txt"),
    (".document", ".summary"),
)


class Files:
    """Records of one kind of file, one file after the other.

    Attributes:
        name: what messages call the input.
        kind: what the files are, in words.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        parts: Sequence[Callable[[], Iterator[Record]]],
        readers: Sequence[TextReader],
    ) -> None:
        self.name, self.kind, self._parts, self._readers = name, kind, parts, readers

    def __iter__(self) -> Iterator[Record]:
        return itertools.chain.from_iterable(part() for part in self._parts)

    @property
    def unreadable(self) -> int:
        """Records that the current or last pass had to leave out."""
        return sum(reader.counts["skipped"] for reader in self._readers)

    def mended(self) -> Counter[str]:
        """Invalid bytes and NUL characters that were replaced or removed."""
        counts: Counter[str] = Counter()
        for reader in self._readers:
            counts.update(
                {"invalid bytes": reader.counts["invalid_utf8"], "NUL characters": reader.counts["nul"]}
            )
        return counts


def find_files(paths: Sequence[Path], format: str | None = None, *, skip_bad: bool = False) -> Files:
    """See what the paths are.

    Args:
        paths: files, folders, globs, or `-`.
        format: read everything as this format of `nonet.data.text.TextReader`.
        skip_bad: leave out records that cannot be read.

    Raises:
        UserError: nothing to read, or files of different kinds together.
    """
    if not paths:
        raise UserError("no input: name at least one file of document-summary pairs")
    kinds = {(_kind(path) if format is None else "records") for path in paths}
    if len(kinds) > 1:
        raise UserError(
            f"{', '.join(map(str, paths))}: these are files of different kinds ({', '.join(sorted(kinds))}); "
            "give one kind"
        )
    name = ", ".join("stdin" if path == Path("-") else str(path) for path in paths)
    kind = kinds.pop()
    if kind == "TFRecord":
        return Files(name, kind, [_examples(file) for path in paths for file in _inside(path, _TFRECORD)], [])
    if kind == "AESLC subject files":
        found = [file for path in paths for file in _inside(path, re.compile(r"\.subject$"))]
        return Files(name, f"{len(found):,} {kind}", [lambda: map(_subject, found)], [])
    if kind == "parallel files":
        sides = [side for path in paths for side in _parallel(path)]
        readers = [TextReader([side], format="text", keep_blank=True, on_bad="raise") for side in sides]
        parts = [_side_by_side(readers[i], readers[i + 1]) for i in range(0, len(readers), 2)]
        names = " and ".join(str(side) for side in sides[:2])
        return Files(names if len(sides) == 2 else name, kind, parts, readers)
    stdin = format or "jsonl"
    each = [
        TextReader(
            [path], format=stdin if path == Path("-") else format, on_bad="skip" if skip_bad else "raise"
        )
        for path in paths
    ]
    formats = sorted({source.format for reader in each for source in reader.sources})
    if "text" in formats:
        raise UserError(
            f"{name}: plain text has no fields for document and summary; give .jsonl, .csv, .tsv, .parquet, "
            "or two files NAME.source and NAME.target"
        )
    return Files(name, " and ".join(formats), [_records(reader) for reader in each], each)


def _kind(path: Path) -> str:
    if path.is_dir():
        names = [file.name for file in sorted(path.rglob("*"))]
        if any(name.endswith(".subject") for name in names):
            return "AESLC subject files"
        if any(_TFRECORD.search(name) for name in names):
            return "TFRecord"
        sources = [name for name in names if _side(name)[0] == 0]
        if sources:
            raise UserError(f"{path}: has {', '.join(sources[:5])}; name the one that you mean")
        return "records"
    if _TFRECORD.search(path.name):
        return "TFRecord"
    if path.suffix == ".subject":
        return "AESLC subject files"
    return "parallel files" if _side(path.name)[0] >= 0 else "records"


def _side(name: str) -> tuple[int, str, str]:
    """Which of two parallel files a name is (0 document, 1 summary, -1 none), its ending and the other's."""
    bare = _PACKED.sub("", name)
    for first, second in _PARTNERS:
        if bare.endswith(first):
            return 0, first, second
        if bare.endswith(second):
            return 1, second, first
    return -1, "", ""


def _parallel(path: Path) -> tuple[Path, Path]:
    """Documents' and summaries' file, from either of them."""
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    side, own, _ = _side(path.name)
    bare = _PACKED.sub("", path.name)
    stem = bare.removesuffix(own)
    others = [second if own == first else first for first, second in _PARTNERS if own in (first, second)]
    for other in others:
        for packing in ("", ".gz", ".zst"):
            partner = path.with_name(stem + other + packing)
            if partner.exists():
                return (path, partner) if side == 0 else (partner, path)
    raise UserError(
        f"{path}: its other half {stem}{others[0]} is not there; the two files have one text a line each"
    )


def _inside(path: Path, pattern: re.Pattern[str]) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if pattern.search(file.name))
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    return [path]


def _records(reader: TextReader) -> Callable[[], Iterator[Record]]:
    return lambda: iter(reader)


def _examples(path: Path) -> Callable[[], Iterator[Record]]:
    def read() -> Iterator[Record]:
        from pegasus.tfrecords import read_tfrecords

        for where, fields in read_tfrecords(path):
            yield Record(fields, where)

    return read


def _side_by_side(documents: TextReader, summaries: TextReader) -> Callable[[], Iterator[Record]]:
    def read() -> Iterator[Record]:
        lines = [0, 0]
        for document, summary in itertools.zip_longest(documents, summaries):
            lines[0] += document is not None
            lines[1] += summary is not None
            if lines[0] == lines[1]:
                yield Record(
                    {"document": document.fields["text"], "summary": summary.fields["text"]}, document.where
                )
        if lines[0] != lines[1]:
            names = [reader.sources[0].name for reader in (documents, summaries)]
            raise UserError(
                f"{names[0]} has {lines[0]:,} lines and {names[1]} has {lines[1]:,}: "
                "they must pair up line by line"
            )

    return read


def _subject(path: Path) -> Record:
    """A mail of AESLC: the body up to the first blank line, then sections `@subject`, `@ann0`, ..."""
    lines = path.read_bytes().decode("utf-8", "replace").replace("\0", "").splitlines()
    body = list(itertools.takewhile(lambda line: line.strip() and not line.startswith("@subject"), lines))
    fields: dict[str, object] = {"body": body}
    section = ""
    for line in lines[len(body) :]:
        if line.startswith("@"):
            section = line[1:].strip()
        elif section and line.strip():
            fields[section] = f"{fields[section]}\n{line}" if section in fields else line
    return Record(fields, str(path))
