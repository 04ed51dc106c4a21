"""Just enough of the Protocol Buffers wire format for SentencePiece models and checkpoint indices.

A message is a run of fields, each a key (number << 3 | wire type) and a value: a varint (type 0), eight bytes
(1), a length and that many bytes (2), or four bytes (5). What the bytes mean is the caller's business.
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The unsigned number that starts at `at`, and where the next byte is.

    Raises:
        ValueError: the data end inside the number, or it is longer than 64 bits.
    """
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError(f"a number at byte {at} is cut off or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The (number, value) pairs of one message in their order.

    Varints come as unsigned int, everything else as the raw little-endian bytes (a view, not a copy).

    Raises:
        ValueError: the bytes are no message: cut off, or a wire type that does not exist.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        key, at = varint(view, at)
        wire = key & 7
        if wire == VARINT:
            value, at = varint(view, at)
            yield key >> 3, value
            continue
        if wire == BYTES:
            size, at = varint(view, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at} does not exist")
        if at + size > len(view):
            raise ValueError(f"field {key >> 3} at byte {at} is cut off")
        yield key >> 3, view[at : at + size]
        at += size


def field(number: int, value: int | bytes, wire: int | None = None) -> bytes:
    """One field: an int as a varint, bytes with their length, or bare bytes for FIXED32 and FIXED64."""
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    wire = BYTES if wire is None else wire
    return _varint(number << 3 | wire) + (_varint(len(value)) if wire == BYTES else b"") + value


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # a negative number is written as its two's complement
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
