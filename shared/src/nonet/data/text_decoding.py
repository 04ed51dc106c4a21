"""Bytes of a source to lines of text: unpacked, decoded, mended and counted, a block at a time (ours)."""

import codecs
import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from nonet.data.text_sources import STDIN, Source, Tally
from nonet.errors import UserError, needs

BLOCK = 1 << 18  # bytes read at once
PACKED_BLOCK = 1 << 14  # bytes of a .zst file unpacked at once


class Damaged(Exception):
    """The bytes of a file end or break in a way that ends the reading; its text is "what; what to do"."""


class _Metered:
    """A binary file that counts what is read from it, for progress in bytes on disk."""

    def __init__(self, file: Any, tally: Tally) -> None:
        self.file, self.tally = file, tally

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.file.read(size)
        self.tally.bytes_read += len(data)
        return data


@contextmanager
def _opened(source: Source, tally: Tally) -> Iterator[_Metered]:
    if source.path == STDIN:
        yield _Metered(sys.stdin.buffer, tally)
        return
    try:
        file = open(source.path, "rb")  # noqa: SIM115  (closed below; only opening it is the user's error)
    except OSError as error:
        raise UserError(
            f"{source.name}: cannot be opened ({error.strerror}); check its permissions"
        ) from error
    with file:
        yield _Metered(file, tally)


def _blocks(source: Source, tally: Tally) -> Iterator[bytes]:
    """Unpacked bytes, a block at a time. Raises Damaged."""
    with _opened(source, tally) as file:
        if source.packing == "gz":
            yield from _gunzip(file)
        elif source.packing == "zst":
            yield from _unzstd(file)
        else:
            while block := file.read(BLOCK):
                yield block


def _gunzip(file: Any) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        while True:
            try:
                block = unpacked.read(BLOCK)
            except EOFError:
                raise Damaged("the gzip data ends too early; copy or download the file again") from None
            except (gzip.BadGzipFile, zlib.error) as error:
                raise Damaged(f"not sound gzip data ({error}); copy it again, or drop the .gz") from None
            if not block:
                return
            yield block


def _unzstd(file: Any) -> Iterator[bytes]:
    zstandard: Any = needs("zstandard", to="read .zst files", install="nonet[text]")
    fresh = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj  # large windows: zstd --long=31
    frame = None
    while packed := file.read(PACKED_BLOCK):
        while packed:
            frame = frame or fresh()
            try:
                block = frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise Damaged(f"not sound zstd data ({error}); copy it again, or drop the .zst") from None
            packed = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = None
            if block:
                yield block
    if frame is not None:
        raise Damaged("the zstd data ends too early; copy or download the file again")


def decoded(source: Source, tally: Tally, encoding: str = "utf-8") -> Iterator[str]:
    """The text of a source in pieces, cut anywhere; counts what it mends.

    Invalid bytes become U+FFFD (`counts["invalid_utf8"]`, one for each), NUL characters go (`counts["nul"]`),
    a byte order mark at the start goes.

    Raises:
        Damaged: the packing is broken, or the file is not text in this encoding at all.
    """
    decode = _utf8 if encoding == "utf-8" else _other(encoding)
    first = True
    for text, mended in decode(_checked(_blocks(source, tally), tally)):
        tally.counts["invalid_utf8"] += mended
        if "\0" in text:
            tally.counts["nul"] += text.count("\0")
            text = text.replace("\0", "")
        if first and text:
            first = False
            text = text.removeprefix("\ufeff")
        if text:
            yield text


def _checked(blocks: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    first = True
    for block in blocks:
        if first:
            first = False
            if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise Damaged("UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 IN > OUT")
            for magic, kind in ((b"\x1f\x8b", ".gz"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"PAR1", ".parquet")):
                if block.startswith(magic):
                    raise Damaged(f"the content is {kind} data; give the file that suffix")
        tally.counts["bytes"] += len(block)
        yield block


def _utf8(blocks: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    rest = b""
    for block in blocks:
        data = rest + block
        text, used = codecs.utf_8_decode(data, "replace", False)
        yield text, replaced(text, data[:used])
        rest = data[used:]
    text, _ = codecs.utf_8_decode(rest, "replace", True)
    yield text, replaced(text, rest)


def replaced(text: str, data: bytes) -> int:
    """How many replacement characters the decoder put in, without those that were in the text before."""
    return text.count("\ufffd") - data.count(b"\xef\xbf\xbd") if "\ufffd" in text else 0


def encoding_name(encoding: str) -> str:
    """The standard name of an encoding that contains ASCII byte for byte; others end in a UserError."""
    try:
        name = codecs.lookup(encoding).name
        narrow = "\r\n{}".encode(name) == b"\r\n{}" or name == "utf-8-sig"
    except LookupError:
        raise UserError(f"unknown encoding {encoding!r}; try utf-8, latin-1 or cp1252") from None
    if not narrow:
        raise UserError(
            f"encoding {encoding!r} cannot be read here; convert: iconv -f {encoding} -t UTF-8 IN > OUT"
        )
    return name


def _other(encoding: str) -> Any:
    def decode(blocks: Iterable[bytes]) -> Iterator[tuple[str, int]]:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        for block in blocks:
            text = decoder.decode(block)
            yield text, text.count("\ufffd")
        text = decoder.decode(b"", final=True)
        yield text, text.count("\ufffd")

    return decode


def lines(texts: Iterable[str]) -> Iterator[str]:
    r"""Lines without their ends, which may be `\n`, `\r\n` or `\r`, also mixed; a last line needs no end."""
    held: list[str] = []  # the beginning of a line whose end has not come yet
    return_waits = False  # the last piece ended in \r; a \n that follows belongs to it
    for text in texts:
        if return_waits:
            text = "\r" + text
        return_waits = text.endswith("\r")
        if return_waits:
            text = text[:-1]
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        first, *rest = text.split("\n")
        held.append(first)
        if rest:
            yield "".join(held)
            yield from rest[:-1]
            held = [rest[-1]]
    if return_waits or any(held):
        yield "".join(held)
