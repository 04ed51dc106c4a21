"""Documents of SMART files (CISI, MEDLARS, CACM, Cranfield as they were first given out).

.I 1          a document and its id
.T            title
.A .B .N .X   authors, source, dates, references: left out
.W            body
"""

import re
from collections.abc import Iterator

from nonet.data.text_formats import Numbered
from nonet.data.text_sources import Source, Tally
from prop_ir.documents import Document, checked_id, joined
from prop_ir.options import ReadOptions

TITLE_AND_BODY = ("T", "W")

_ID = re.compile(r"\.I\s+(\S.*)")
_SECTION = re.compile(r"\.([A-Z])\s*")


def read_smart(source: Source, tally: Tally, options: ReadOptions) -> Iterator[Document]:
    """Documents of a SMART file.

    Args:
        source: the file.
        tally: counts what is met, and raises or counts what is bad.
        options: `fields` are letters of sections.
    """
    wanted = tuple(field.lstrip(".").upper() for field in options.fields) or TITLE_AND_BODY
    numbered = Numbered(source, tally, options.encoding)
    name: str | None = None
    where, section = "", ""
    held: dict[str, list[str]] = {}
    for line in numbered:
        if found := _ID.fullmatch(line):
            if name is not None:
                yield _document(name, held, wanted, where)
            where, section, held = numbered.where(), "", {}
            name = checked_id(found.group(1), where, tally)
        elif found := _SECTION.fullmatch(line):
            section = found.group(1)
        elif section:
            held.setdefault(section, []).append(line)
        elif line.strip() and name is not None:
            tally.bad(numbered.where(), "text outside of a section", "text outside of .T, .W, ...", "mend it")
    if name is not None:
        yield _document(name, held, wanted, where)


def _document(name: str, held: dict[str, list[str]], wanted: tuple[str, ...], where: str) -> Document:
    return Document(name, joined("\n".join(held.get(section, [])) for section in wanted), where)
