"""The exact texts of the objects of a .json or .jsonl file, streamed, with the lines they begin in (ours)."""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nonet.errors import UserError, needs

BLOCK = 1 << 18  # bytes read at once
LONGEST = 1 << 28  # bytes of one row; what is longer is a file without an end, not a row
_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)  # a whole string, or one character
_PLAIN_END = re.compile(rb"[,\]\s]")
_SPACE = re.compile(rb"[ \t\r\n]*")


def raw_records(path: Path, name: Path | None = None) -> Iterator[tuple[str, int]]:
    """(text, line) of every object of a file.

    A byte order mark and both kinds of line end are passed over. A file is a list if its first character is
    `[`, else it has one object a line (.jsonl) or objects one after the other.

    Args:
        path: the file.
        name: what it will be called; its suffixes count and errors name it.

    Raises:
        UserError: missing, packed wrongly, not UTF-8, or a list that does not end.
    """
    name = name or path
    if not path.is_file():
        raise UserError(f"{name}: no such file; check the path (relative to {Path.cwd()})")
    with ExitStack() as stack:
        damage: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
        if name.suffix.lower() == ".zst":
            zstandard: Any = needs("zstandard", to="read .zst files", install="nonet[text]")
            damage = (EOFError, zstandard.ZstdError)
        try:
            yield from _records(_open(path, name, stack), name)
        except damage:
            raise UserError(f"{name}: damaged {name.suffix} data; copy the file again") from None


def _open(path: Path, name: Path, stack: ExitStack) -> io.BufferedReader:
    try:
        file: Any = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise UserError(f"{name}: cannot be opened ({error.strerror}); check its permissions") from None
    if name.suffix.lower() == ".gz":
        file = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
    elif name.suffix.lower() == ".zst":
        zstandard: Any = needs("zstandard", to="read .zst files", install="nonet[text]")
        file = stack.enter_context(_Frames(file, zstandard.ZstdDecompressor().decompressobj))
    buffered = stack.enter_context(io.BufferedReader(file, BLOCK))
    head = buffered.peek(4)[:4]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{name}:1: UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 IN > OUT")
    if head[:3] == b"\xef\xbb\xbf":
        buffered.read(3)
    return buffered


class _Frames(io.RawIOBase):
    """The text of Zstandard frames, one after the other; unlike the package's reader it misses a lost end."""

    def __init__(self, file: io.BufferedReader, new: Callable[[], Any]) -> None:
        self._file, self._new = file, new
        self._frame: Any = None
        self._packed, self._text = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._text:
            self._packed = self._packed or self._file.read(BLOCK)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._frame = self._frame or self._new()
            self._text, self._packed = memoryview(self._frame.decompress(self._packed)), b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._text))
        buffer[:count] = self._text[:count]
        self._text = self._text[count:]
        return count


def _records(file: io.BufferedReader, path: Path) -> Iterator[tuple[str, int]]:
    line = 1
    while (c := file.peek(1)[:1]) and c in b" \t\r\n":
        line += file.read(1) == b"\n"
    names = [suffix.lower() for suffix in path.suffixes]
    if c != b"[" and {".jsonl", ".ndjson"} & set(names):
        for data in iter(lambda: file.readline(LONGEST), b""):
            if data.strip():
                yield _text(data.strip(b" \t\r\n"), path, line), line
            line += 1
        return
    yield from _values(file, path, line, listed=c == b"[")


def _values(file: io.BufferedReader, path: Path, line: int, listed: bool) -> Iterator[tuple[str, int]]:
    """The values of a list, or one after the other; only the one that is being read is in memory."""
    data, at, ended = (b"", 0, False)
    if listed:
        file.read(1)
    wants_value = True  # a value may follow here; after one, a list has to go on with a comma

    def more() -> None:
        nonlocal data, at, ended
        block = file.read(max(BLOCK, len(data) - at))  # doubling keeps long rows linear
        ended = not block
        data, at = data[at:] + block, 0

    number = 0
    while True:
        while True:
            end = _SPACE.match(data, at).end()  # type: ignore[union-attr]
            line += data.count(b"\n", at, end)
            at = end
            if at < len(data) or ended:
                break
            more()
        c = data[at : at + 1]
        if not c:
            if listed:
                raise UserError(f"{path}:{line}: the list does not end; copy the file again")
            return
        if listed and c == b"]":
            if data[at + 1 :].strip() or file.read(BLOCK).strip():
                raise UserError(f"{path}:{line}: text after the end of the list; remove it")
            return
        if listed and not wants_value:
            if c != b",":
                raise UserError(f"{path}:{line}: a comma or ] should follow row {number}; mend it")
            at, wants_value = at + 1, True
            continue
        number += 1
        while (stop := _value_end(data, at, ended)) is None:
            if ended or len(data) - at > LONGEST:
                raise UserError(f"{path}:{line}: row {number} begins here and does not end; close it")
            more()
        stop = max(stop, at + 1)
        yield _text(data[at:stop], path, line), line
        line += data.count(b"\n", at, stop)
        at, wants_value = stop, False


def _value_end(data: bytes, at: int, ended: bool) -> int | None:
    if data[at : at + 1] not in (b"{", b"[", b'"'):
        match = _PLAIN_END.search(data, at + 1)
        return match.start() if match else (len(data) if ended else None)
    depth = 0
    for match in _MARK.finditer(data, at):
        mark = match.group()
        if mark == b'"':
            return None  # a string that is cut off here
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        if depth <= 0:
            return match.end()
    return None


def _text(data: bytes, path: Path, line: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{line}: not UTF-8 at byte {error.start + 1} of the row; convert the file"
        ) from None
