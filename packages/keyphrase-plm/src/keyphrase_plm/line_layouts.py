"""Layouts whose documents are lines or whole files of text.

| layout | sets | lines |
|---|---|---|
| parallel | KP20k and the cross-domain sets (Chan et al.), StackExchange and Weibo (TAKG) | `title <eos> body` in one file, `p1;p2;<peos>a1;a2` or `k1;k2` in the other |
| lines | sources alone | `title <eos> body` |
| text | any | a document a file; its first line is the title |
"""  # noqa: E501 (a table)

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from keyphrase_plm.raw_documents import Raw, at_first_mark
from nonet.data.text import TextReader
from nonet.errors import UserError

PEOS = "<peos>"
"""between present and absent phrases"""

_PARTNERS = (("_src", "_trg"), ("_context", "_allkeywords"), (".source", ".target"))


def target_of(source: Path) -> Path | None:
    """Where the phrases of a file of sources are by its name, there or not; None for other names."""
    for ours, theirs in _PARTNERS:
        head, mark, tail = source.name.rpartition(ours)
        if mark and (not tail or tail.startswith(".")):
            return source.with_name(head + theirs + tail)
    return None


def source_of(target: Path) -> Path | None:
    """Where the sources of a file of phrases are by its name; None for other names."""
    for ours, theirs in _PARTNERS:
        head, mark, tail = target.name.rpartition(theirs)
        if mark and (not tail or tail.startswith(".")):
            return target.with_name(head + ours + tail)
    return None


def parallel(source: Path, target: Path, counts: Counter[str]) -> Iterator[Raw]:
    """The documents of two files with a line each; blank lines are documents, too, and are counted.

    Raises:
        UserError: the files have different numbers of lines (after the last pair).
    """
    sources, targets = _lines(source), _lines(target)
    pairs = 0
    while True:
        line, phrases = next(sources, None), next(targets, None)
        if line is None or phrases is None:
            break
        pairs += 1
        yield _pair(*line, phrases[1], counts)
    if line is not None or phrases is not None:
        longer = pairs + 1 + sum(1 for _ in (targets if line is None else sources))
        here, there = (pairs, longer) if line is None else (longer, pairs)
        raise UserError(
            f"{source} has {here:,} lines and {target} {there:,}: line {pairs + 1} has no partner; "
            "line k of one belongs to line k of the other"
        )


def lines(source: Path, counts: Counter[str]) -> Iterator[Raw]:
    """The documents of a file with one a line, without phrases."""
    for where, line in _lines(source):
        counts["lines without a file of phrases"] += 1
        title, body = at_first_mark(line, counts)
        if not line.strip():
            counts["blank sources (kept)"] += 1
        yield Raw("", title, body, tokenised=True, where=where)


def text_file(source: Path, counts: Counter[str]) -> Iterator[Raw]:
    """A file as one document, its id the file's name; the title is its first line with letters."""
    for record in TextReader([source], "file", format="text", keep_blank=True):
        title, body = title_and_body(record.fields["text"])
        if not title:
            counts["blank sources (kept)"] += 1
        yield Raw(source.stem, title, body, where=str(source))


def title_and_body(text: str) -> tuple[str, str]:
    """The first line of a text that is not blank, with lines after it that begin with a tab; and the rest."""
    rows = text.strip().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    end = 1
    while end < len(rows) and rows[end].startswith("\t"):
        end += 1
    return " ".join(" ".join(rows[:end]).split()), " ".join(" ".join(rows[end:]).split())


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for record in TextReader([path], "line", format="text", keep_blank=True):
        yield record.where, record.fields["text"]


def _pair(where: str, line: str, phrases: str, counts: Counter[str]) -> Raw:
    title, body = at_first_mark(line, counts)
    if not line.strip():
        counts["blank sources (kept)"] += 1
    head, mark, tail = phrases.partition(PEOS)
    before = _parted(head)
    if not before and not _parted(tail):
        counts["blank lines of phrases (kept)"] += 1
    if mark:
        after = _parted(tail.replace(PEOS, ";"))
        return Raw("", title, body, present=before, absent=after, split=True, tokenised=True, where=where)
    counts[f"lines without {PEOS} (split by the text)"] += 1
    return Raw("", title, body, before, tokenised=True, where=where)


def _parted(phrases: str) -> tuple[str, ...]:
    return tuple(phrase for part in phrases.split(";") if (phrase := part.strip()))
