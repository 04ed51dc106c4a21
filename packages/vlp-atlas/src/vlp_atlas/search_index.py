"""Search over the whole catalogue: an inverted index that the terminal and the page share (ours).

A query is split at spaces; a record is found if every word of the query is a substring of one of the record's
words, with upper and lower case alike and nothing else interpreted. The vocabulary is one string, so a
substring of any word is found by scanning it once, and each word has the list of records that hold it.
`site_files/search.js` does the same, line for line; a test compares both.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vlp_atlas.showing import is_fact

if TYPE_CHECKING:
    from vlp_atlas import Atlas

KINDS = (
    "models", "checkpoints", "objectives", "datasets", "tasks", "metrics", "papers", "results", "sources",
)  # fmt: skip
"""kinds in the order in which equally good finds are listed"""
SKIPPED = {
    "source", "confidence", "missing", "as_of", "latex", "convention", "error", "retrieved", "commit", "sha",
    "replaced_by", "local", "alternatives", "checked", "unit", "range", "setting", "oracle", "impl",
}  # fmt: skip
"""keys whose values nobody looks for"""


SPACES = re.compile("[\\t-\\r \u00a0\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
"""what stands between words; spelled out, as Python and JavaScript do not agree on what a space is"""


class Document(NamedTuple):
    """A record as search sees it: what it is, its title, and the names it may be called by, folded."""

    kind: str
    id: str
    title: str
    names: list[str]


class Index(NamedTuple):
    """An inverted index.

    Attributes:
        documents: the records in order.
        words: the vocabulary, sorted, each word behind a line feed.
        starts: where each word's line feed stands in `words`.
        postings: by word: 2 * document, plus 1 if only facts from memory have the word there.
    """

    documents: list[Document]
    words: str
    starts: list[int]
    postings: list[list[int]]


def fold(text: str) -> str:
    """The text with upper and lower case alike, composed (NFC); the same here and in JavaScript.

    Going through upper case makes `ß` and `ss` equal, as case folding does; JavaScript has no other way.
    """
    return unicodedata.normalize("NFC", text).upper().lower().replace("\u03c2", "\u03c3")


def words(text: str) -> list[str]:
    """The words of a text, folded."""
    return [word for word in SPACES.split(fold(text)) if word]


def title(kind: str, record: Mapping[str, Any]) -> str:
    """What a record is called in a list."""
    if kind == "results":
        return f"{record['checkpoint']}: {record['metric']} on {record['dataset']} {record['split']}"
    value = record.get("name") or record.get("title") or record["id"]
    return str(value.get("value") if is_fact(value) else value)


def result_id(record: Mapping[str, Any], number: int) -> str:
    """A result's id, or its place where it has none."""
    return str(record.get("id", number))


def build(atlas: "Atlas") -> Index:
    """Index every record of the catalogue."""
    documents: list[Document] = []
    found: dict[str, dict[int, bool]] = {}  # word -> document -> whether it is only remembered
    for kind in KINDS:
        for place, record in enumerate(atlas.all(kind)):
            number = len(documents)
            called = title(kind, record)
            own = [str(record.get("id", "")), called, *record.get("aliases", [])]
            documents.append(
                Document(kind, result_id(record, place), called, [fold(name) for name in own if name])
            )
            remembered = kind == "results" and record["confidence"] == "unverified"
            for text, unsure in [*((name, remembered) for name in own), *_texts(record, remembered)]:
                for word in words(text):
                    seen = found.setdefault(word, {})
                    seen[number] = seen.get(number, True) and unsure
    vocabulary = sorted(found)
    starts, at = [], 0
    for word in vocabulary:
        starts.append(at)
        at += len(word) + 1
    postings = [
        [2 * number + unsure for number, unsure in sorted(found[word].items())] for word in vocabulary
    ]
    return Index(documents, "".join(f"\n{word}" for word in vocabulary), starts, postings)


def _texts(value: Any, unsure: bool) -> Iterator[tuple[str, bool]]:
    """Every text inside, and whether it is only remembered."""
    if isinstance(value, str):
        yield value, unsure
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, unsure)
    elif is_fact(value):
        unsure = unsure or value["confidence"] == "unverified"
        held = value.get("value")
        if isinstance(held, int) and not isinstance(held, bool) and 1900 < held < 2100:
            yield str(held), unsure  # a year
        yield from _texts([held, value.get("note")], unsure)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in SKIPPED:
                yield from _texts(item, unsure)


def search(index: Index, query: str, *, unverified: bool = False) -> list[Document]:
    """The records that a query finds, the best first.

    Best is a record whose name is the query, then one whose name begins with it, then one whose names hold
    all words; then the order of kinds and of the catalogue.

    Args:
        index: of the catalogue.
        query: words apart by spaces.
        unverified: find what only facts from memory say, too.
    """
    asked = words(query)
    if not asked:
        return []
    whole = " ".join(asked)
    left: set[int] | None = None
    for word in asked:
        numbers = _holding(index, word, unverified)
        left = numbers if left is None else left & numbers
    ranked = sorted((_rank(index.documents[number], asked, whole), number) for number in left or ())
    return [index.documents[number] for _, number in ranked]


def _holding(index: Index, word: str, unverified: bool) -> set[int]:
    """The documents with a word that holds this one."""
    numbers: set[int] = set()
    at = index.words.find(word)
    while at >= 0:
        place = bisect_right(index.starts, at) - 1
        numbers.update(code >> 1 for code in index.postings[place] if unverified or not code & 1)
        following = index.starts[place + 1] if place + 1 < len(index.starts) else len(index.words)
        at = index.words.find(word, following)
    return numbers


def _rank(document: Document, asked: list[str], whole: str) -> int:
    if whole in document.names:
        return 0
    if any(name.startswith(whole) for name in document.names):
        return 1
    if all(any(word in name for name in document.names) for word in asked):
        return 2
    return 3


def packed(index: Index) -> dict[str, str]:
    """The index as the page holds it: the vocabulary, and postings as differences to base 36.

    The lists of the words are apart by commas, the numbers of a list by points.
    """
    lists = []
    for numbers in index.postings:
        before, told = 0, []
        for number in numbers:
            told.append(_base36(number - before))
            before = number
        lists.append(".".join(told))
    return {"words": index.words, "postings": ",".join(lists)}


def _base36(number: int) -> str:
    digits = ""
    while number or not digits:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits
