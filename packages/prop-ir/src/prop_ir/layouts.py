"""Which files a collection has, and how each is laid out, by its first characters (ours)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from nonet.data.text_decoding import Damaged, decoded
from nonet.data.text_sources import STDIN, Source, Tally, find_sources
from nonet.errors import UserError
from prop_ir.options import ReadOptions

Layout = Literal["trec", "json lines", "json values", "msmarco", "passages", "smart"]

LOOKED_AT = 1 << 16  # characters of a file
CORPUS = ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst")
"""the documents in a folder of BEIR"""

_DOC = re.compile(r"<doc[\s>]", re.IGNORECASE)
_SMART = re.compile(r"\.I\s+\S+\s*$", re.MULTILINE)


class Laid(NamedTuple):
    """A file and its layout."""

    source: Source
    layout: Layout


def find_files(paths: Sequence[Path], options: ReadOptions) -> tuple[list[Laid], int]:
    """The files of a collection.

    Args:
        paths: files, folders (of BEIR, too), globs, `-` for standard input.
        options: the layout, or `auto`.

    Returns:
        The files in order, and how many of those in folders and globs hold no documents.

    Raises:
        UserError: a path is missing, or a file that was named holds no documents in a known layout.
    """
    found: list[Laid] = []
    ignored = 0
    for path in paths:
        corpus = _corpus_of(path, options)
        sources, _ = find_sources([corpus or path], "text")
        several = corpus is None and (len(sources) != 1 or sources[0].path != path)
        for source in sources:
            layout = layout_of(source, options, several)
            if layout is not None:
                found.append(Laid(source, layout))
            elif several:
                ignored += 1
            else:
                raise UserError(
                    f"{source.name}: holds no documents in a layout that is known; name one with "
                    "--read.layout (trec, jsonl, msmarco or smart)"
                )
    if not found:
        named = ", ".join(map(str, paths))
        raise UserError(f"{named}: none of the {ignored} files there holds documents; see --read.layout")
    return found, ignored


def layout_of(source: Source, options: ReadOptions, several: bool) -> Layout | None:
    """A file's layout; None if it holds no documents.

    Args:
        source: the file.
        options: the layout, or `auto`.
        several: whether it is one of several files that nobody named: there, lines of two fields are rather
            queries than passages, and a text with a `<DOC>` somewhere is rather a manual.
    """
    if source.path == STDIN:
        if options.layout in ("auto", "beir"):
            raise UserError("stdin: say how it is laid out with --read.layout trec, jsonl, msmarco or smart")
        text = ""
    else:
        text = _beginning(source, options.encoding)
    if options.layout in ("jsonl", "beir"):
        return _json(text)
    if options.layout == "msmarco":
        return "passages" if text and max(_fields(text)) < 4 else "msmarco"
    if options.layout in ("trec", "smart"):
        return "trec" if options.layout == "trec" else "smart"
    if _DOC.search(text) and (text.lstrip().startswith("<") or not several):
        return "trec"
    if _SMART.match(text.lstrip()):
        return "smart"
    if text.lstrip().startswith(("{", "[{", "[\n", "[ ")):
        return _json(text)
    return _tabbed(text, several)


def _corpus_of(path: Path, options: ReadOptions) -> Path | None:
    corpus = next((path / name for name in CORPUS if (path / name).is_file()), None)
    if corpus is None and options.layout == "beir":
        raise UserError(f"{path}: no corpus.jsonl in this folder, so no collection of BEIR")
    return corpus if options.layout in ("auto", "beir") else None


def _beginning(source: Source, encoding: str) -> str:
    text = ""
    try:
        for part in decoded(source, Tally(), encoding):
            text += part
            if len(text) >= LOOKED_AT:
                break
    except Damaged as error:
        if not text:
            raise UserError(f"{source.name}: {error}") from error
    return text[:LOOKED_AT]


def _json(text: str) -> Layout:
    """Lines, or a list or objects that take several lines."""
    first, *more = text.lstrip().split("\n", 1)
    whole = not more or first.rstrip().endswith("}")
    return "json lines" if whole and not first.startswith("[") else "json values"


def _fields(text: str) -> list[int]:
    """Tab-separated fields of each line, but for a last one that was cut."""
    lines = [line for line in text.splitlines() if line.strip()]
    cut = len(text) == LOOKED_AT and len(lines) > 1
    return [line.count("\t") + 1 for line in (lines[:-1] if cut else lines)] or [0]


def _tabbed(text: str, several: bool) -> Layout | None:
    fields = _fields(text)
    if fields.count(4) * 2 > len(fields):
        last = [line.rsplit("\t", 1)[1].strip() for line in text.splitlines() if line.count("\t") == 3]
        return None if all(re.fullmatch(r"-?\d+", cell) for cell in last) else "msmarco"  # judgements
    return "passages" if not several and fields.count(2) * 2 > len(fields) else None
