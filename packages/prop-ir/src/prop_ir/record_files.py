"""Documents as records: JSON lines of Wikipedia, Anserini and BEIR, and the tab-separated files of MS MARCO.

WikiExtractor writes `{id, url, title, text}`, Anserini reads `{id, contents}`, BEIR has `{_id, title, text}`;
`msmarco-docs.tsv` has docid, url, title and body, `collection.tsv` docid and passage.
"""

from collections.abc import Iterator
from typing import Any

from nonet.data.text_formats import Numbered, jsonl
from nonet.data.text_json import json_values
from nonet.data.text_sources import Source, Tally
from prop_ir.documents import Document, checked_id, joined
from prop_ir.options import ReadOptions

IDS = ("id", "_id", "docid", "doc_id", "docno", "pid")
"""where a record's id is looked for, in this order"""
TITLES = ("title", "headline")
BODIES = ("text", "contents", "body", "content", "abstract", "document", "article", "passage")

COLUMNS = {4: ("docid", "url", "title", "body"), 2: ("docid", "body")}
"""number of tab-separated fields -> their names"""


def read_json(
    source: Source, tally: Tally, options: ReadOptions, *, in_lines: bool = True
) -> Iterator[Document]:
    """Documents of JSON lines, or of a JSON list or of objects that take several lines.

    Args:
        source: the file.
        tally: counts what is met, and raises or counts what is bad.
        options: which fields are the text.
        in_lines: whether every line is an object.
    """
    for where, fields in (jsonl if in_lines else json_values)(source, tally, options.encoding):
        document = document_of(fields, where, tally, options.fields)
        if document is not None:
            yield document


def document_of(fields: dict[str, Any], where: str, tally: Tally, wanted: tuple[str, ...]) -> Document | None:
    """A record's document; None if it has no id or text, which the tally has then raised or counted.

    Args:
        fields: name -> value.
        where: the record's place.
        tally: what to do with a bad record.
        wanted: fields of the text; none for title and body under their usual names.
    """
    shown = ", ".join(fields) or "none"
    key = next((name for name in IDS if name in fields), None)
    if key is None:
        tally.bad(where, "no id", f"no id; fields are {shown}", f"name it one of {', '.join(IDS)}")
        return None
    name = checked_id(fields[key], where, tally)
    if name is None:
        return None
    usual = [next((name for name in names if name in fields), None) for names in (TITLES, BODIES)]
    keys = list(wanted) or [key for key in usual if key is not None]
    absent = [key for key in keys if key not in fields]
    if absent or not keys:
        what = f"no field {absent[0]!r}" if absent else "no text"
        tally.bad(where, "no text", f"{what}; fields are {shown}", "name the text's with --read.fields")
        return None
    parts = [_plain(fields[key]) for key in keys]
    for key, part in zip(keys, parts, strict=True):
        if part is None:
            kind = type(fields[key]).__name__
            tally.bad(where, "no text", f"field {key!r} is a {kind}", "make it a text or a list of texts")
            return None
    return Document(name, joined(part for part in parts if part is not None), where)


def read_msmarco(source: Source, tally: Tally, options: ReadOptions, *, columns: int) -> Iterator[Document]:
    """Documents of tab-separated lines without a header; other lines are bad ones.

    Args:
        source: the file.
        tally: counts what is met, and raises or counts what is bad.
        options: which fields are the text.
        columns: 4 (docid, url, title, body) or 2 (docid, body).
    """
    names = COLUMNS[columns]
    numbered = Numbered(source, tally, options.encoding)
    for line in numbered:
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != columns:
            what = f"{len(cells)} tab-separated fields, not {columns} ({', '.join(names)})"
            tally.bad(numbered.where(), f"not {columns} fields", what, "take tabs out of the texts")
            continue
        document = document_of(dict(zip(names, cells, strict=True)), numbered.where(), tally, options.fields)
        if document is not None:
            yield document


def _plain(value: Any) -> str | None:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return value if isinstance(value, str) else None
