"""SentencePiece models as bytes: what `Tokenizer` reads from one, changes in one, or builds one from.

Field numbers are those of the published `sentencepiece_model.proto` (Kudo and Richardson 2018).
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from pegasus import protobuf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_ADD_DUMMY_PREFIX = 3


class Model(NamedTuple):
    """What a tokenizer in another format needs of a SentencePiece model."""

    pieces: list[tuple[str, float, int]]
    """(text, log probability, kind) in order of id"""
    charsmap: bytes
    """the compiled character normaliser, empty for none"""
    model_type: int
    """UNIGRAM, BPE, or another number"""
    removes_extra_whitespace: bool
    """whether leading, trailing and repeated spaces are dropped"""
    adds_dummy_prefix: bool
    """whether text starts with a word boundary"""


def parse(proto: bytes) -> Model:
    """Read a serialized model.

    Raises:
        ValueError: the bytes are no SentencePiece model.
    """
    pieces: list[tuple[str, float, int]] = []
    charsmap, model_type, removes, prefixes = b"", UNIGRAM, True, True
    for number, value in protobuf.fields(proto):
        if isinstance(value, int):
            continue
        if number == _PIECES:
            text, score, kind = "", 0.0, NORMAL
            for part, content in protobuf.fields(value):
                if part == 1 and not isinstance(content, int):
                    text = str(content, "utf-8")
                elif part == 2 and not isinstance(content, int):
                    score = struct.unpack("<f", content)[0]
                elif part == 3 and isinstance(content, int):
                    kind = content
            pieces.append((text, score, kind))
        elif number == _TRAINER:
            model_type = next(
                (int(v) for n, v in protobuf.fields(value) if n == 3 and isinstance(v, int)), UNIGRAM
            )
        elif number == _NORMALIZER:
            for part, content in protobuf.fields(value):
                if part == 2 and not isinstance(content, int):
                    charsmap = bytes(content)
                elif part == _ADD_DUMMY_PREFIX:
                    prefixes = bool(content)
                elif part == 4:
                    removes = bool(content)
    if not pieces:
        raise ValueError("no pieces in it")
    return Model(pieces, charsmap, model_type, removes, prefixes)


def without_dummy_prefix(proto: bytes) -> bytes:
    """The same model, except that a text does not start with a word boundary of its own accord."""
    out = bytearray()
    seen = False
    for number, value in protobuf.fields(proto):
        content = value if isinstance(value, int) else bytes(value)
        if number == _NORMALIZER and isinstance(content, bytes):
            seen = True
            content += protobuf.field(_ADD_DUMMY_PREFIX, 0)  # the last of equal fields counts
        out += protobuf.field(number, content)
    if not seen:
        out += protobuf.field(_NORMALIZER, protobuf.field(_ADD_DUMMY_PREFIX, 0))
    return bytes(out)


def build(pieces: Iterable[tuple[str, float, int]], charsmap: bytes) -> bytes:
    """A serialized unigram model with pad 0, eos 1, unknown 2 and no beginning-of-sentence piece.

    Args:
        pieces: (text, log probability, kind) in order of id, the first three being pad, eos and unknown.
        charsmap: the compiled character normaliser, or empty bytes.
    """
    out = bytearray()
    count = 0
    for text, score, kind in pieces:
        count += 1
        piece = protobuf.field(1, text.encode()) + protobuf.field(
            2, struct.pack("<f", score), protobuf.FIXED32
        )
        out += protobuf.field(_PIECES, piece + (protobuf.field(3, kind) if kind != NORMAL else b""))
    trainer = protobuf.field(3, UNIGRAM) + protobuf.field(4, count)
    for number, value in ((40, 2), (41, -1), (42, 1), (43, 0)):  # unknown, beginning, end, pad
        trainer += protobuf.field(number, value)
    out += protobuf.field(_TRAINER, trainer + protobuf.field(48, b"<pad>"))
    return bytes(out + protobuf.field(_NORMALIZER, protobuf.field(2, charsmap)))
