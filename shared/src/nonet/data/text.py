"""Records from users' text files: JSON lines, JSON, CSV, TSV, Parquet and plain text, packed or not (ours).

    for record in read_records(["corpus/"], unit="paragraph"):
        print(record.where, record.fields["text"])

Everything streams: memory does not grow with the size of the input.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nonet.data.text_decoding import encoding_name
from nonet.data.text_formats import TEXT_UNITS, csv_rows, jsonl, parquet, tsv_quoted_rows, tsv_rows
from nonet.data.text_json import json_values
from nonet.data.text_sources import FORMAT_NAMES, STDIN, Source, Tally, find_sources
from nonet.errors import UserError

__all__ = ["FORMAT_NAMES", "Record", "TextReader", "read_records"]

Unit = Literal["line", "paragraph", "file", "wikitext"]
_READERS: dict[str, Callable[..., Any]] = {
    "jsonl": jsonl,
    "json": json_values,
    "csv": csv_rows,
    "tsv": tsv_rows,
    "tsv-quoted": tsv_quoted_rows,
    "parquet": parquet,
}


class Record(NamedTuple):
    """One record and the place it came from.

    Attributes:
        fields: name -> value; text files have `text` (and `title` in WikiText), CSV and TSV strings only.
        where: `"mails.jsonl:12"`, `"mails.json:record 12"` or `"mails.parquet:row 12"`, counted from 1; a
            file read as one document is its name alone. Messages about the record begin with it.
    """

    fields: dict[str, Any]
    where: str

    def field(self, name: str, *, option: str | None = None) -> Any:
        """The value of a field.

        Args:
            name: the field.
            option: the command's option that names another field, for the message, such as `"--text-field"`.

        Raises:
            UserError: there is no such field; the text names the fields there are.
        """
        try:
            return self.fields[name]
        except KeyError:
            there = ", ".join(self.fields) or "none"
            remedy = f": name one with {option}" if option else ""
            raise UserError(f"{self.where}: no field {name!r}; fields are {there}{remedy}") from None

    def text(self, name: str, *, join: str = " ", option: str | None = None) -> str:
        """The text of a field; a list of texts (sentences, say) is joined by `join`.

        Raises:
            UserError: there is no such field, or it is neither text nor a list of texts.
        """
        value = self.field(name, option=option)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return join.join(value)
        kind = "empty (null)" if value is None else f"a {type(value).__name__}"
        raise UserError(f"{self.where}: field {name!r} is {kind}; it has to be text or a list of texts")


class TextReader:
    """The records of files, folders, globs and standard input, one after the other, with counts.

    Args:
        paths: files, folders (every depth, sorted, hidden and unknown files left out), globs, `-` for
            standard input.
        unit: what one record of a text file is: a `"line"`, a `"paragraph"` (ended by a blank line), the
            whole `"file"`, or a `"wikitext"` article. Other formats have records of their own.
        format: one of `FORMAT_NAMES`, for all of the files; otherwise each file's suffix decides.
        encoding: of text that is not Parquet; `"utf-8"`, `"latin-1"` and others that contain ASCII.
        keep_blank: also give blank text records. Parallel files (`.source` and `.target`) need it to stay
            aligned.
        on_bad: `"raise"` stops at a record that cannot be read; `"skip"` leaves it out and counts it.

    Attributes:
        sources: the files, in reading order.
        total_bytes: bytes on disk of all of them; standard input counts as 0.

    Raises:
        UserError: nothing to read, or an unknown suffix, format, unit or encoding; while iterating, a bad
            record.
    """

    def __init__(
        self,
        paths: Sequence[Path | str] | Path | str,
        unit: Unit = "line",
        *,
        format: str | None = None,
        encoding: str = "utf-8",
        keep_blank: bool = False,
        on_bad: Literal["raise", "skip"] = "raise",
    ) -> None:
        if unit not in TEXT_UNITS:
            raise UserError(f"unknown unit {unit!r}; choose one of {', '.join(TEXT_UNITS)}")
        named = [paths] if isinstance(paths, Path | str) else list(paths)
        self.unit, self.encoding, self.keep_blank = unit, encoding_name(encoding), keep_blank
        self.sources, self._ignored = find_sources(named, format)
        self.total_bytes = sum(source.size for source in self.sources)
        self._tally = Tally(on_bad)

    @property
    def bytes_read(self) -> int:
        """Bytes on disk that the current or last pass has read; compare with `total_bytes`."""
        return self._tally.bytes_read

    @property
    def counts(self) -> Counter[str]:
        """What the current or last pass has met.

        Keys: `files`, `ignored_files` (unknown suffix in a folder), `records`, `blank` (left out), `skipped`
        (bad), `bytes` (unpacked), `invalid_utf8` (replaced bytes or byte sequences), `nul` (removed).
        """
        return self._tally.counts

    @property
    def skipped(self) -> Counter[str]:
        """Reason -> records left out by `on_bad="skip"`."""
        return self._tally.skipped

    @property
    def skipped_examples(self) -> list[str]:
        """The messages of the first five records left out."""
        return self._tally.examples

    def __iter__(self) -> Iterator[Record]:
        """Read from the beginning; the counts start again."""
        tally = self._tally = Tally(self._tally.on_bad)
        tally.counts["ignored_files"] = self._ignored
        for source in self.sources:
            tally.counts["files"] += 1
            for where, fields in self._found(source, tally):
                if source.format == "text" and not self.keep_blank and not fields["text"].strip():
                    tally.counts["blank"] += 1
                    continue
                tally.counts["records"] += 1
                yield Record(fields, where)

    def _found(self, source: Source, tally: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
        reader = TEXT_UNITS[self.unit] if source.format == "text" else _READERS[source.format]
        found: Iterator[tuple[str, dict[str, Any]]] = reader(source, tally, self.encoding)
        return found

    @property
    def reads_stdin(self) -> bool:
        """Whether standard input is among the sources, which can be read only once."""
        return any(source.path == STDIN for source in self.sources)


def read_records(
    paths: Sequence[Path | str] | Path | str,
    *,
    unit: Unit = "line",
    format: str | None = None,
    encoding: str = "utf-8",
    keep_blank: bool = False,
    on_bad: Literal["raise", "skip"] = "raise",
) -> Iterator[Record]:
    """The records of `paths`; the arguments are those of `TextReader`, which also counts."""
    reader = TextReader(paths, unit, format=format, encoding=encoding, keep_blank=keep_blank, on_bad=on_bad)
    return iter(reader)
