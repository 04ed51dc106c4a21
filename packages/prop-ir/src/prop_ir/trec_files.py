"""Documents of TREC files: `<DOC> <DOCNO>id</DOCNO> ... </DOC>`, one after the other, in SGML, XML or HTML.

It is no parser of those languages, as such files seldom keep to them: a document is what lies between its
tags, in upper or lower case, and is read as soon as it ends. Where it has tags for title (`TITLE`,
`HEADLINE`, ...) and text (`TEXT`, `BODY`, ...), these are the document; elsewhere it is all that is not
markup.
"""

import html
import re
from collections.abc import Iterator

from nonet.data.text_formats import Numbered
from nonet.data.text_sources import Source, Tally
from prop_ir.documents import Document, checked_id, joined
from prop_ir.options import ReadOptions

TITLES = ("title", "headline", "hl", "ttl", "ti", "head")
"""tags of a title; the first that occurs counts, as HTML has a title inside of its head"""
LEADS = ("lp", "leadpara")
"""tags of a first paragraph that some collections keep apart from the text"""
BODIES = ("text", "body", "abstract")
"""tags of the body; the first that occurs counts"""

BEGIN = re.compile(r"<doc(\s[^>]*)?>", re.IGNORECASE)
END = re.compile(r"</doc\s*>", re.IGNORECASE)

_IDS = [re.compile(rf"<{tag}\s*>(.*?)</{tag}\s*>", re.IGNORECASE | re.DOTALL) for tag in ("docno", "docid")]
_ATTRIBUTE = r"""\b{}\s*=\s*(?:"([^"]*)"|'([^']*)')"""
_HIDDEN = re.compile(
    r"<!--.*?-->|<(dochdr|docoldno|docid|script|style)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL
)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_TAG = re.compile(r"<[/!?]?[a-zA-Z][^<>]*>")


def read_trec(source: Source, tally: Tally, options: ReadOptions) -> Iterator[Document]:
    """Documents of a TREC file; no more than one is held at a time.

    Args:
        source: the file.
        tally: counts what is met, and raises or counts what is bad.
        options: `fields` are names of tags.
    """
    for attributes, content, where in _between_tags(Numbered(source, tally, options.encoding), tally):
        found = _IDS[0].search(content) or _IDS[1].search(content)
        own = _attribute(attributes, "id")
        if not found and not own:
            tally.bad(where, "no DOCNO", "a <DOC> without <DOCNO>", "give every document an id")
            continue
        name = checked_id(html.unescape(found.group(1)) if found else own, where, tally)
        if name is None:
            continue
        if found:
            content = content[: found.start()] + content[found.end() :]
        title = _attribute(attributes, "title")
        yield Document(name, joined([title, document_text(content, options.fields)]), where)


def document_text(content: str, fields: tuple[str, ...] = ()) -> str:
    """The text of what lies between `<DOC>` and `</DOC>`.

    Args:
        content: with its tags, but without DOCNO.
        fields: names of tags whose text is wanted, in this order; none for title and body, or for everything
            where no tag says which part is the body.
    """
    content = _HIDDEN.sub(" ", content)
    if fields:
        return joined(" ".join(_inside(content, field)) for field in fields)
    title = next((tag for tag in TITLES if _element(tag).search(content)), "")
    titles = " ".join(_inside(content, title)) if title else ""
    body = next((found for tag in BODIES if (found := _inside(content, tag))), None)
    if body is not None:
        leads = [text for tag in LEADS for text in _inside(content, tag)]
        return joined([titles, "\n".join([*leads, *body])])
    return joined([titles, _plain(_element(title).sub(" ", content) if title else content)])


def _between_tags(numbered: Numbered, tally: Tally) -> Iterator[tuple[str, str, str]]:
    """Attributes, content and place of each document."""
    attributes: str | None = None  # of the document that is open
    held: list[str] = []
    where = ""
    for line in numbered:
        place = 0
        while True:
            if attributes is None:
                begin = BEGIN.search(line, place) if "<" in line else None
                if begin is None:
                    break
                attributes, held, where, place = begin.group(1) or "", [], numbered.where(), begin.end()
            end = END.search(line, place) if "<" in line else None
            begin = BEGIN.search(line, place, end.start() if end else len(line)) if "<" in line else None
            if begin is not None:
                tally.bad(where, "a <DOC> without </DOC>", "a <DOC> without </DOC>", "mend or cut the file")
                attributes = None
                place = begin.start()
            elif end is None:
                held.append(line[place:])
                break
            else:
                held.append(line[place : end.start()])
                yield attributes, "\n".join(held), where
                attributes, place = None, end.end()
    if attributes is not None:
        tally.bad(where, "a <DOC> without </DOC>", "a <DOC> without </DOC>", "mend or cut the file")


def _attribute(attributes: str, name: str) -> str:
    found = re.search(_ATTRIBUTE.format(name), attributes, re.IGNORECASE) if attributes else None
    return html.unescape(found.group(1) or found.group(2) or "") if found else ""


_ELEMENTS: dict[str, re.Pattern[str]] = {}


def _element(tag: str) -> re.Pattern[str]:
    if tag not in _ELEMENTS:
        name = re.escape(tag)
        _ELEMENTS[tag] = re.compile(rf"<{name}(?:\s[^>]*)?>(.*?)</{name}\s*>", re.IGNORECASE | re.DOTALL)
    return _ELEMENTS[tag]


def _inside(content: str, tag: str) -> list[str]:
    """The plain texts inside of a tag."""
    return [_plain(found) for found in _element(tag).findall(content)]


def _plain(content: str) -> str:
    """Text without markup, its entities written out."""
    text = _TAG.sub(" ", _CDATA.sub(r"\1", content))
    return html.unescape(text).strip() if "&" in text else text.strip()
