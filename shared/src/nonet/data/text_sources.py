"""Where text comes from: files, folders, globs and standard input; and the tally of what was met (ours)."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".parquet": "parquet",
}
FORMAT_NAMES = ("jsonl", "json", "csv", "tsv", "tsv-quoted", "text", "parquet")
PACKINGS = {".gz": "gz", ".zst": "zst"}
KNOWN = ", ".join(FORMATS) + ", each but .parquet also with .gz or .zst"
STDIN = Path("-")


@dataclass(frozen=True)
class Source:
    """One file to read, or standard input.

    Attributes:
        path: the file; `Path("-")` is standard input.
        format: one of `FORMAT_NAMES`.
        packing: `""`, `"gz"` or `"zst"`.
    """

    path: Path
    format: str
    packing: str

    @property
    def name(self) -> str:
        """What messages call it: the path as the user wrote it."""
        return "stdin" if self.path == STDIN else str(self.path)

    @property
    def size(self) -> int:
        """Bytes on disk, packed ones if it is packed; 0 for standard input and pipes."""
        return 0 if self.path == STDIN else self.path.stat().st_size


class Tally:
    """What was met while reading, and what to do with a bad record.

    Args:
        on_bad: `"raise"` stops at the first bad record with a `UserError`; `"skip"` leaves it out and counts.
    """

    def __init__(self, on_bad: Literal["raise", "skip"] = "raise") -> None:
        self.on_bad = on_bad
        self.counts: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.examples: list[str] = []
        self.bytes_read = 0

    def bad(self, where: str, reason: str, what: str, remedy: str) -> None:
        """Raise, or count a bad record under `reason` and remember the first five messages."""
        message = f"{where}: {what}; {remedy}"
        if self.on_bad == "raise":
            raise UserError(message)
        self.counts["skipped"] += 1
        self.skipped[reason] += 1
        if len(self.examples) < 5:
            self.examples.append(message)


def find_sources(paths: Sequence[Path | str], format: str | None = None) -> tuple[list[Source], int]:
    """The files behind paths, folders (every depth, sorted, without hidden files), globs and `-`.

    Args:
        paths: what the user named, in the user's order.
        format: one of `FORMAT_NAMES`, for files whose suffix says nothing; otherwise the suffix decides, and
            standard input is text.

    Returns:
        The sources in order, and how many files in folders were left out because their suffix is unknown.

    Raises:
        UserError: a path is missing, a folder or glob yields nothing, or a suffix is unknown.
    """
    if format is not None and format not in FORMAT_NAMES:
        raise UserError(f"unknown format {format!r}; choose one of {', '.join(FORMAT_NAMES)}")
    if not paths:
        raise UserError("no input: name at least one file, folder, glob, or - for standard input")
    sources: list[Source] = []
    ignored = 0
    for path in map(Path, paths):
        if path == STDIN:
            if format == "parquet":
                raise UserError("stdin: Parquet has to be read from a file; write it to disk and name that")
            sources.append(Source(STDIN, format or "text", ""))
        elif path.is_dir():
            found, left = _in_folder(path, format)
            if not found:
                raise UserError(f"{path}: no file in this folder can be read; known suffixes are {KNOWN}")
            sources += found
            ignored += len(left)
        elif path.exists():
            sources.append(_named(path, format))
        elif any(c in str(path) for c in "*?["):
            found, left = _in_glob(path, format)
            sources += found
            ignored += len(left)
        else:
            raise UserError(f"{path}: no such file or folder; check the path (relative to {Path.cwd()})")
    return sources, ignored


def _recognise(path: Path, format: str | None) -> Source | None:
    suffixes = [s.lower() for s in path.suffixes]
    packing = PACKINGS.get(suffixes.pop(), "") if suffixes and suffixes[-1] in PACKINGS else ""
    found = format or (FORMATS.get(suffixes[-1]) if suffixes else None)
    if found == "parquet" and packing:
        raise UserError(
            f"{path}: Parquet is compressed inside; unpack the {path.suffix} and name the .parquet file"
        )
    return Source(path, found, packing) if found else None


def _named(path: Path, format: str | None) -> Source:
    source = _recognise(path, format)
    if source is None:
        raise UserError(f"{path}: unknown suffix; known are {KNOWN}: rename it or name its format")
    return source


def _in_folder(folder: Path, format: str | None) -> tuple[list[Source], list[Path]]:
    files: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(here, name) for name in names if not name.startswith(".")]
    return _sorted_out(sorted(files), format)


def _in_glob(pattern: Path, format: str | None) -> tuple[list[Source], list[Path]]:
    matches = sorted(Path(match) for match in glob.glob(str(pattern), recursive=True))
    if not matches:
        raise UserError(f"{pattern}: no file matches this pattern; check it (relative to {Path.cwd()})")
    found: dict[Path, Source] = {}  # by path, as `**` meets both a folder and the files in it
    ignored: dict[Path, None] = {}
    for match in matches:
        sources, left = _in_folder(match, format) if match.is_dir() else _sorted_out([match], format)
        found |= {source.path: source for source in sources}
        ignored |= dict.fromkeys(left)
    if not found:
        raise UserError(f"{pattern}: no file that matches can be read; known suffixes are {KNOWN}")
    return list(found.values()), list(ignored)


def _sorted_out(paths: list[Path], format: str | None) -> tuple[list[Source], list[Path]]:
    found = [_recognise(path, format) for path in paths]
    ignored = [path for path, source in zip(paths, found, strict=True) if source is None]
    return [source for source in found if source is not None], ignored
