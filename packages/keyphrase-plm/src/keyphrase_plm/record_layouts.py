"""Layouts whose documents are records with named fields: JSON lines, JSON, CSV, TSV and Parquet.

| layout | sets | fields |
|---|---|---|
| canonical | ours | id, title, body, present, absent |
| abstract | KP20k (Meng et al.), KPTimes, KPBiomed | title, abstract, keyword(s) with `;` or keyphrases |
| oagk | OAGK, OAGKX | title, abstract, keyword(s) with `,` |
| stackex | StackEx (Yuan et al.) | title, question, tags |
| openkp | OpenKP | url, text, KeyPhrases: lists of words; all present |
| ldkp | LDKP3k, LDKP10k | sections, sec_text, extractive_keyphrases, abstractive_keyphrases |
| midas | the sets of midas on the hub | document: words, extractive_keyphrases, abstractive_keyphrases |
| fields | any | fields named by options, or title, text or body, keywords |

The split of ldkp and midas is made anew from the text, as DeepKPG does.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keyphrase_plm.raw_documents import Fields, Raw, id_of, phrases_in, text_of, without_marks
from nonet.data.text import Record
from nonet.errors import UserError

IDS = ("id", "_id", "paperid", "paper_id", "url")
"""where a document's id is looked for"""
KEYWORDS = ("keyword", "keywords", "keyphrases")
"""where phrases are looked for"""
TEXTS = ("body", "text", "content", "abstract", "question")
"""where the layout `fields` looks for the text"""

Read = Callable[[Record, Counter[str], Fields], Raw]


def _first(record: Record | Mapping[str, Any], names: Sequence[str]) -> str | None:
    fields = record.fields if isinstance(record, Record) else record
    return next((name for name in names if name in fields), None)


def _canonical(record: Record, counts: Counter[str], _: Fields) -> Raw:
    sides = []
    for name in ("present", "absent"):
        value = record.fields.get(name, [])
        if not isinstance(value, list):
            raise UserError(
                f"{record.where}: field {name!r} is a {type(value).__name__}; it is a list of texts"
            )
        sides.append(phrases_in(record, name))
    title, body = (without_marks(text_of(record, name), counts) for name in ("title", "body"))
    key = id_of(record, ("id",))
    if not key:
        raise UserError(f"{record.where}: a document without id; give every one a text of its own")
    return Raw(
        key, title, body, present=sides[0], absent=sides[1], split=True, tokenised=True, where=record.where
    )


def _titled(text: str, keywords: Sequence[str], between: str) -> Read:
    """Title, a text and keywords, which are all in one field."""

    def read(record: Record, counts: Counter[str], _: Fields) -> Raw:
        name = _first(record, keywords)
        phrases = phrases_in(record, name, between=between) if name else ()
        if name is None:
            counts["documents without a field of phrases"] += 1
        title, body = (without_marks(text_of(record, field), counts) for field in ("title", text))
        return Raw(id_of(record, IDS), title, body, phrases, where=record.where)

    return read


def _openkp(record: Record, counts: Counter[str], _: Fields) -> Raw:
    body = without_marks(text_of(record, "text"), counts)
    present = phrases_in(record, "KeyPhrases")
    return Raw(id_of(record, ("url", "id")), "", body, present=present, split=True, where=record.where)


def _ldkp(record: Record, counts: Counter[str], _: Fields) -> Raw:
    names, texts = record.field("sections"), record.field("sec_text")
    if not isinstance(names, list) or not isinstance(texts, list) or len(names) != len(texts):
        raise UserError(f"{record.where}: 'sections' and 'sec_text' have to be lists of the same length")
    title: list[str] = []
    body: list[str] = []
    for name, text in zip(names, texts, strict=True):
        words = text.split() if isinstance(text, str) else text
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"{record.where}: section {name!r} is neither a text nor a list of words")
        (title if str(name).strip().lower() == "title" else body).extend(words)
    return _with_both(record, counts, " ".join(title), " ".join(body))


def _midas(record: Record, counts: Counter[str], _: Fields) -> Raw:
    return _with_both(record, counts, text_of(record, "title"), text_of(record, "document"))


def _with_both(record: Record, counts: Counter[str], title: str, body: str) -> Raw:
    phrases = [phrases_in(record, f"{kind}_keyphrases") for kind in ("extractive", "abstractive")]
    title, body = without_marks(title, counts), without_marks(body, counts)
    return Raw(id_of(record, IDS), title, body, (*phrases[0], *phrases[1]), where=record.where)


def _fields(record: Record, counts: Counter[str], fields: Fields) -> Raw:
    text = fields.text or _first(record, TEXTS)
    if text is None:
        raise UserError(
            f"{record.where}: no text in {', '.join(record.fields) or 'no field'}; name --text-field"
        )
    record.field(text, option="--text-field")
    title = fields.title or ("title" if "title" in record.fields and text != "title" else "")
    if fields.title:
        record.field(fields.title, option="--title-field")
    keywords = fields.keywords or _first(record, (*KEYWORDS, "tags"))
    if fields.keywords:
        record.field(fields.keywords, option="--keywords-field")
    if keywords is None:
        counts["documents without a field of phrases"] += 1
    return Raw(
        id_of(record, IDS),
        without_marks(text_of(record, title), counts) if title else "",
        without_marks(text_of(record, text), counts),
        phrases_in(record, keywords) if keywords else (),
        where=record.where,
    )


READ: dict[str, Read] = {
    "canonical": _canonical,
    "abstract": _titled("abstract", KEYWORDS, ";"),
    "oagk": _titled("abstract", ("keyword", "keywords"), ","),
    "stackex": _titled("question", ("tags",), ";"),
    "openkp": _openkp,
    "ldkp": _ldkp,
    "midas": _midas,
    "fields": _fields,
}
"""what a layout makes of a record"""


def matching(records: Sequence[Record], fields: Fields) -> list[str]:
    """The layouts that fit all of these records.

    Args:
        records: the first ones of a file.
        fields: what the user named; then the layout is `fields`.
    """
    if any(fields):
        return ["fields"]
    found = [name for name, fits in _FITS.items() if all(fits(record.fields) for record in records)]
    strings = " ".join(_strings(records))
    if found == ["abstract"] and "," in strings and ";" not in strings:
        return ["abstract", "oagk"]  # one keyphrase with a comma in it, or several
    return found


def _strings(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        for name in ("keyword", "keywords"):
            if isinstance(value := record.fields.get(name), str):
                yield value


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda fields: all(name in fields for name in names)


def _is_plain(fields: Mapping[str, Any]) -> bool:
    """One field of text, and none that makes it another layout's."""
    others = ("present", "KeyPhrases", "abstract", "question", "sec_text", "document")
    return any(name in fields for name in ("body", "text", "content")) and not any(
        n in fields for n in others
    )


_FITS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "canonical": _has("id", "title", "body", "present"),
    "abstract": _has("title", "abstract"),
    "stackex": _has("title", "question"),
    "openkp": _has("text", "KeyPhrases"),
    "ldkp": _has("sections", "sec_text"),
    "midas": lambda fields: isinstance(fields.get("document"), list),
    "fields": _is_plain,
}
