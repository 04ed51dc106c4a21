"""Queries of test collections: tab-separated lines, TREC's topics, BEIR's JSON lines, entries of ir_datasets.

TREC's topics are read by their tags, `<top> <num> <title> <desc> <narr>`, closed or not, in SGML or XML, with
the labels `Number:`, `Topic:`, `Description:`, `Narrative:` left out; and the web track's `<topic number="1">
<query> <description>`, whose query counts as the title.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from nonet.data.text_formats import json_reason
from nonet.errors import UserError
from prop_ir.catalogue import PREFIX
from prop_ir.qrels import catalogue_records
from prop_ir.text_lines import numbered_lines

LEAST_KNOWN = 0.8
"""share of the queries that have to be judged, or of the judged ones that have to be among them"""
SAMPLE = 5  # ids that a message shows

IDS = ("_id", "id", "query_id", "qid")
TEXTS = ("text", "query", "title", "question")
SAME = {"query": "title", "description": "desc", "narrative": "narr"}  # names of the web track

_TOPIC = re.compile(r"<top>(.*?)(?=</top>|<top>|\Z)", re.IGNORECASE | re.DOTALL)
_WEB_TOPIC = re.compile(r"<topic\s([^>]*)>(.*?)</topic>", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"""number\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_PART = re.compile(r"<([a-z]+)\b[^>]*>([^<]*(?:<(?!/?[a-z])[^<]*)*)", re.IGNORECASE)
_LABEL = re.compile(r"\s*(?:Number|Topic|Description|Narrative)\s*:", re.IGNORECASE)


class Topic(NamedTuple):
    """A query with its parts."""

    id: str
    parts: dict[str, str]
    """title, desc, ... -> text"""
    where: str


def read_topics(
    path: Path | str, field: str = "title", numbers: Literal["file", "position"] = "file"
) -> dict[str, str]:
    """Read queries.

    Args:
        path: lines of `id TAB text`; a file of TREC topics; BEIR's `queries.jsonl`; each also .gz or .zst; or
            `ir_datasets:NAME`.
        field: which part of a topic: title, desc or narr; several joined by +, as in `title+desc`. Layouts
            that have one text only know `title` alone.
        numbers: position: the topics are numbered 1, 2, ... instead, as the judgements of Cranfield are.

    Returns:
        id -> text with single blanks, in the file's order.

    Raises:
        UserError: a line of another form, an id twice, a topic without this part or without text, or no topic
            at all; the text begins with file and line.
    """
    found: dict[str, str] = {}
    for place, topic in enumerate(_topics(path), 1):
        name = topic.id if numbers == "file" else str(place)
        if name in found:
            raise UserError(f"{topic.where}: topic {name} occurs twice; give every topic an id of its own")
        texts = []
        for part in field.split("+"):
            if part not in topic.parts:
                there = ", ".join(topic.parts) or "nothing"
                raise UserError(
                    f"{topic.where}: topic {topic.id} has no {part!r}; it has {there}: see --field"
                )
            texts.append(topic.parts[part])
        found[name] = " ".join(" ".join(texts).split())
        if not found[name]:
            raise UserError(f"{topic.where}: topic {topic.id} has no text; leave it out, or write one")
    if not found:
        raise UserError(
            f"{path}: holds no topics; known are id TAB text, TREC's <top>, and BEIR's JSON lines"
        )
    return found


def check_ids(
    ids: Iterable[str], qrels: Mapping[str, object], where: object, other: object = "the judgements"
) -> None:
    """Refuse queries that are numbered in another way than the judgements.

    They are the same if 80 % of the ids are judged, or if 80 % of the judged queries are among the ids, as
    TREC's tracks judge some of their topics only.

    Args:
        ids: of queries, in a run or in topics.
        qrels: judgements, by query.
        where: what has these ids, such as the name of its file.
        other: what `qrels` are, where they are no judgements.

    Raises:
        UserError: they are not; the text shows ids of both.
    """
    given = list(dict.fromkeys(ids))
    common = sum(query in qrels for query in given)
    if common < LEAST_KNOWN * min(len(given), len(qrels)):
        raise UserError(
            f"{where}: only {common:,} of its {len(given):,} queries are among the {len(qrels):,} of "
            f"{other}; they are {_sample(given)} here and {_sample(qrels)} there: if judgements are numbered "
            "by position, give --number-topics position wherever topics are read"
        )


def _sample(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:SAMPLE]) + (", ..." if len(shown) > SAMPLE else "")


def _topics(path: Path | str) -> Iterator[Topic]:
    if str(path).startswith(PREFIX):
        yield from _of_catalogue(str(path))
        return
    lines = list(numbered_lines(path))
    start = lines[0][1].lstrip() if lines else ""
    if start.startswith("<"):
        yield from _of_trec(str(path), lines)
    elif start.startswith("{"):
        yield from _of_json(str(path), lines)
    else:
        yield from _of_table(str(path), lines)


def _of_table(path: str, lines: list[tuple[int, str]]) -> Iterator[Topic]:
    for number, line in lines:
        name, tab, text = line.partition("\t")
        where = f"{path}:{number}"
        if not tab:
            raise UserError(f"{where}: no tab between id and text; a line is the id, a tab, and the query")
        if "\t" in text:
            raise UserError(f"{where}: more than one tab; a line is the id, a tab, and the query")
        yield Topic(_checked(name, where), {"title": text}, where)


def _of_json(path: str, lines: list[tuple[int, str]]) -> Iterator[Topic]:
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not valid JSON ({json_reason(error)})") from None
        if not isinstance(record, dict):
            raise UserError(f'{where}: not an object; a query is {{"_id": ..., "text": ...}}')
        name = next((record[key] for key in IDS if key in record), None)
        text = next((record[key] for key in TEXTS if key in record), None)
        if not isinstance(name, str | int) or not isinstance(text, str):
            there = ", ".join(record) or "none"
            raise UserError(f"{where}: no id or no text; fields are {there}, and _id and text are wanted")
        yield Topic(_checked(str(name), where), {"title": text}, where)


def _of_trec(path: str, lines: list[tuple[int, str]]) -> Iterator[Topic]:
    text = "\n".join(line for _, line in lines)
    starts = [number for number, line in lines]
    web = [(_NUMBER.search(found[1]), found) for found in _WEB_TOPIC.finditer(text)]
    for attribute, found in web:
        where = f"{path}:{starts[text.count(chr(10), 0, found.start())]}"
        if attribute is None:
            raise UserError(f"{where}: a <topic> without number")
        yield Topic(_checked(attribute[1], where), _parts(found[2]), where)
    for found in [] if web else _TOPIC.finditer(text):
        where = f"{path}:{starts[text.count(chr(10), 0, found.start())]}"
        parts = _parts(found[1])
        name = parts.pop("num", "")
        yield Topic(_checked(name, where), parts, where)


def _parts(content: str) -> dict[str, str]:
    """The text behind each tag, up to the next one."""
    found: dict[str, str] = {}
    for tag, text in _PART.findall(content):
        name = SAME.get(tag.lower(), tag.lower())
        if name not in found:  # the web track has descriptions of subtopics further down
            found[name] = html.unescape(_LABEL.sub("", text, count=1) if _LABEL.match(text) else text).strip()
    return found


def _of_catalogue(name: str) -> Iterator[Topic]:
    for number, record in enumerate(catalogue_records(name, "queries"), 1):
        parts = {
            SAME.get(key, key): value
            for key, value in record._asdict().items()
            if isinstance(value, str) and key != "query_id"
        }
        if "title" not in parts:
            parts["title"] = record.default_text()
        where = f"{name}:{number}"
        yield Topic(_checked(record.query_id, where), parts, where)


def _checked(name: str, where: str) -> str:
    name = name.strip()
    if not name or any(map(str.isspace, name)):
        what = f"id {name!r} cannot stand in a run file" if name else "a topic without id"
        raise UserError(f"{where}: {what}; give every topic an id without blanks")
    return name
