"""The formats of records: JSON lines, JSON, CSV, TSV, Parquet, and plain text in four units (ours).

Each reader takes a source and a tally and yields `(where, fields)`. What is wrong with a record goes to the
tally, which raises or counts; the reader then goes on with the next one.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from nonet.data.text_decoding import Damaged, decoded, lines, replaced
from nonet.data.text_sources import Source, Tally
from nonet.errors import needs

Found = Iterator[tuple[str, dict[str, Any]]]

PARQUET_ROWS = 1024  # rows that are Python objects at the same time
_TITLE = re.compile("= [^=].* =|= [^= ] =")
LONGEST_CELL = 1 << 30  # characters; the csv module's own limit of 131,072 is less than a long document


class Numbered:
    """The lines of a source with the number of the last one; a damaged file is reported there and ends."""

    def __init__(self, source: Source, tally: Tally, encoding: str) -> None:
        self.source, self.tally, self.encoding = source, tally, encoding
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        try:
            for line in lines(decoded(self.source, self.tally, self.encoding)):
                self.number += 1
                yield line
        except Damaged as error:
            what, _, remedy = str(error).partition("; ")
            self.tally.bad(f"{self.source.name}:{self.number + 1}", "damaged file", what, remedy)

    def where(self, number: int | None = None) -> str:
        """`"mails.jsonl:12"`: the last line, or line `number`."""
        return f"{self.source.name}:{self.number if number is None else number}"


def jsonl(source: Source, tally: Tally, encoding: str) -> Found:
    """One JSON object a line; blank lines are passed over."""
    numbered = Numbered(source, tally, encoding)
    for line in numbered:
        if not line.strip():
            continue
        where = numbered.where()
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            hint = "mend the line"
            if numbered.number == 1 and line.lstrip().startswith("["):
                hint = "this looks like one JSON list: name the file .json"
            tally.bad(where, "broken JSON", f"not valid JSON ({json_reason(error)})", hint)
            continue
        if not isinstance(value, dict):
            not_an_object(where, value, tally)
            continue
        yield where, mended(value, line, tally)


def json_reason(error: Exception) -> str:
    """Why the json module refused a text, with the place in it counted from 1."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def not_an_object(where: str, value: Any, tally: Tally) -> None:
    """Report a JSON value that has no fields."""
    kinds = {list: "list", str: "string", bool: "truth value", type(None): "null"}
    what = f"a JSON {kinds.get(type(value), 'number')}, not an object with named fields"
    tally.bad(where, "JSON that is not an object", what, 'write it as {"text": ...}')


def mended(value: dict[str, Any], line: str, tally: Tally) -> dict[str, Any]:
    r"""Mend and count the NUL characters and lone surrogates that JSON can spell (`\u0000`, `\ud800`)."""
    if "\\u0000" in line or "\\ud" in line or "\\uD" in line:
        return {clean(key, tally): clean(item, tally) for key, item in value.items()}
    return value


def clean(value: Any, tally: Tally) -> Any:
    """`value` without NUL characters and lone surrogates in its strings, at any depth; both are counted."""
    if isinstance(value, str):
        if "\0" in value:
            tally.counts["nul"] += value.count("\0")
            value = value.replace("\0", "")
        lone = sum("\ud800" <= c <= "\udfff" for c in value) if not value.isascii() else 0
        if lone:
            tally.counts["invalid_utf8"] += lone
            value = re.sub("[\ud800-\udfff]", "\ufffd", value)
        return value
    if isinstance(value, list):
        return [clean(item, tally) for item in value]
    if isinstance(value, dict):
        return {clean(key, tally): clean(item, tally) for key, item in value.items()}
    return value


def csv_rows(source: Source, tally: Tally, encoding: str) -> Found:
    """Comma-separated cells; quoted cells may hold commas and newlines. The first row names the fields."""
    hint = "a cell that holds a comma, quote or newline needs quotes around it"
    yield from _table(source, tally, encoding, hint)


def tsv_rows(source: Source, tally: Tally, encoding: str) -> Found:
    """Tab-separated cells, in which quotes are ordinary characters, as in GLUE and most corpora."""
    hint = "cells are separated by tabs, and cannot hold any unless the format is tsv-quoted"
    yield from _table(source, tally, encoding, hint, delimiter="\t", quoting=csv.QUOTE_NONE)


def tsv_quoted_rows(source: Source, tally: Tally, encoding: str) -> Found:
    """Tab-separated cells quoted the way of CSV, as spreadsheets write them."""
    hint = "a cell that holds a tab, quote or newline needs quotes around it"
    yield from _table(source, tally, encoding, hint, delimiter="\t")


def _table(source: Source, tally: Tally, encoding: str, hint: str, **dialect: Any) -> Found:
    if csv.field_size_limit() < LONGEST_CELL:
        csv.field_size_limit(LONGEST_CELL)  # one setting for the process: the module has no other
    numbered = Numbered(source, tally, encoding)
    rows = csv.reader((line + "\n" for line in numbered), strict=True, **dialect)
    header: list[str] | None = None
    while True:
        first = numbered.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            tally.bad(numbered.where(first), "broken row", f"a row that cannot be read ({error})", hint)
            continue
        if not row:
            continue  # a blank line
        if header is None:
            twice = sorted({name for name in row if row.count(name) > 1})
            if twice:
                what = f"the header names {', '.join(map(repr, twice))} more than once"
                tally.bad(numbered.where(first), "bad header", what, "give every column its own name")
                return
            header = row
        elif len(row) != len(header):
            shown = ", ".join(header[:6]) + (", ..." if len(header) > 6 else "")
            what = f"{len(row)} cells, but the header names {len(header)} ({shown})"
            tally.bad(numbered.where(first), "wrong number of cells", what, hint)
        else:
            yield numbered.where(first), dict(zip(header, row, strict=True))


def text_lines(source: Source, tally: Tally, encoding: str) -> Found:
    """Each line."""
    numbered = Numbered(source, tally, encoding)
    for line in numbered:
        yield numbered.where(), {"text": line}


def text_paragraphs(source: Source, tally: Tally, encoding: str) -> Found:
    r"""Lines up to the next blank one, joined by `\n`; `where` is the first."""
    numbered = Numbered(source, tally, encoding)
    held: list[str] = []
    first = 1
    for line in numbered:
        if line.strip():
            if not held:
                first = numbered.number
            held.append(line)
        elif held:
            yield numbered.where(first), {"text": "\n".join(held)}
            held = []
    if held:
        yield numbered.where(first), {"text": "\n".join(held)}


def text_file(source: Source, tally: Tally, encoding: str) -> Found:
    r"""The whole file, its lines joined by `\n`; `where` is its name."""
    before = tally.counts["skipped"]
    text = "\n".join(Numbered(source, tally, encoding))
    if tally.counts["skipped"] == before:  # half of a damaged file is not the document
        yield source.name, {"text": text}


def wikitext(source: Source, tally: Tally, encoding: str) -> Found:
    """Articles of WikiText raw: a line ` = Title = ` between blank lines begins one.

    Deeper headings (` = = Section = = `) stay inside, and so do lines of running text that happen to begin
    and end with `=`, as WikiText-2 has. Lines are stripped, and blank ones left out. Text before the first
    title is an article whose title is empty.
    """
    numbered = Numbered(source, tally, encoding)
    title, first = "", 1
    held: list[str] = []
    candidate = ""  # a title, if the next line is blank
    blank_before = True

    def article() -> tuple[str, dict[str, Any]]:
        return numbered.where(first), {"title": title, "text": "\n".join(held)}

    for line in numbered:
        line = line.strip()
        if candidate:
            if line:
                held.append(candidate)
            else:
                if title or held:
                    yield article()
                title, held, first = candidate[2:-2].strip(), [], numbered.number - 1
            candidate = ""
        if blank_before and _TITLE.fullmatch(line):
            candidate = line
        elif line:
            held.append(line)
        blank_before = not line
    if candidate:
        if title or held:
            yield article()
        title, held, first = candidate[2:-2].strip(), [], numbered.number
    if title or held:
        yield article()


TEXT_UNITS = {"line": text_lines, "paragraph": text_paragraphs, "file": text_file, "wikitext": wikitext}


def parquet(source: Source, tally: Tally, encoding: str) -> Found:
    """The rows of a Parquet file, read in slices; `where` counts rows from 1."""
    files: Any = needs("pyarrow.parquet", to="read Parquet files", install="nonet[text]")
    before, size, row = tally.bytes_read, source.size, 0
    try:
        with files.ParquetFile(source.path) as file:
            total = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, use_threads=False):
                columns = [_plain(column, tally) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    row += 1
                    yield f"{source.name}:row {row}", dict(zip(batch.schema.names, values, strict=True))
                tally.bytes_read = before + size * row // max(total, 1)
    except (ValueError, OSError) as error:  # pyarrow's own errors are both
        what = f"Parquet data that cannot be read ({str(error).splitlines()[0].rstrip('.')})"
        tally.bad(f"{source.name}:row {row + 1}", "damaged file", what, "write or copy the file again")
    tally.bytes_read = before + size
    tally.counts["bytes"] += size


def _plain(column: Any, tally: Tally) -> Iterable[Any]:
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        pa: Any = needs("pyarrow", to="read Parquet files", install="nonet[text]")
        raw = column.cast(pa.large_binary()).to_pylist()
        values = [None if data is None else data.decode("utf-8", "replace") for data in raw]
        mended = (replaced(text, data) for text, data in zip(values, raw, strict=True) if data is not None)
        tally.counts["invalid_utf8"] += sum(mended)
    return [clean(value, tally) for value in values]
