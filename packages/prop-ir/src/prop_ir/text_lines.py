"""The numbered lines of a small text file of experiments: a run, judgements, topics; packed or not (ours)."""

from collections.abc import Iterator
from pathlib import Path

from nonet.data.text_formats import Numbered
from nonet.data.text_sources import PACKINGS, STDIN, Source, Tally
from nonet.errors import UserError


def check_file(path: Path | str) -> None:
    """Refuse a path that is no file.

    Raises:
        UserError: it is missing, or a folder.
    """
    path = Path(path)
    if path != STDIN and not path.exists():
        raise UserError(f"{path}: no such file; check the path (relative to {Path.cwd()})")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file in it")


def numbered_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of every line that is not blank, without its end.

    Args:
        path: a text file, also .gz or .zst; `-` for standard input.

    Raises:
        UserError: no such file, damaged packing, or bytes that are not UTF-8 (ids would change).
    """
    path = Path(path)
    check_file(path)
    tally = Tally("raise")
    numbered = Numbered(Source(path, "text", PACKINGS.get(path.suffix.lower(), "")), tally, "utf-8")
    for line in numbered:
        if line and not line.isspace():
            yield numbered.number, line
    if tally.counts["invalid_utf8"] or tally.counts["nul"]:
        what = "bytes that are not UTF-8" if tally.counts["invalid_utf8"] else "NUL characters"
        raise UserError(f"{path}: has {what}; convert it: iconv -f latin1 -t UTF-8 IN > OUT")
