"""Sorted string tables, the format of a TensorFlow checkpoint's index: LevelDB's table file.

A file is blocks, then a footer that points to the block of block handles. A block is entries whose keys share
prefixes with their predecessors, a list of restart positions, a byte for the compression and a checksum.
"""

from collections.abc import Iterator

from pegasus.crc32c import crc32c, unmasked
from pegasus.protobuf import varint

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5  # compression and checksum after each block
_PLAIN, _SNAPPY = 0, 1


def entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) pairs of a whole table file, in the order of keys.

    Raises:
        ValueError: the bytes are no table, are cut off, or do not match their checksums.
    """
    if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise ValueError("the last eight bytes are not those of a checkpoint index")
    footer = data[-_FOOTER:]
    _, at = _handle(footer, 0)  # the block of meta data, which checkpoints leave empty
    index, _ = _handle(footer, at)
    for _, handle in _entries_of(_block(data, *index)):
        where, _ = _handle(handle, 0)
        yield from _entries_of(_block(data, *where))


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """(offset, size) of a block, and where the next byte is."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER > len(data):
        raise ValueError(f"a block of {size} bytes at {offset} goes beyond the end of the file")
    if crc32c(data[offset : end + 1]) != unmasked(int.from_bytes(data[end + 1 : end + _TRAILER], "little")):
        raise ValueError(f"the checksum of the block at byte {offset} is wrong")
    if data[end] == _PLAIN:
        return data[offset:end]
    if data[end] == _SNAPPY:
        return unsnap(data[offset:end])
    raise ValueError(f"the block at byte {offset} is compressed in an unknown way ({data[end]})")


def _entries_of(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes cannot have {restarts} restarts")
    key = b""
    at = 0
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + fresh + size > end:
            raise ValueError("an entry goes beyond its block")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + size]
        at += size


def unsnap(data: bytes) -> bytes:
    """Undo Snappy's raw block compression.

    Raises:
        ValueError: the bytes are not Snappy's, or are cut off.
    """
    size, at = varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(data[at : at + extra], "little")
                at += extra
            length += 1
            if at + length > len(data):
                raise ValueError("a literal of compressed data is cut off")
            out += data[at : at + length]
            at += length
            continue
        if kind == 1:
            length, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at]
            at += 1
        else:
            width = 2 if kind == 2 else 4
            length, offset = (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little")
            at += width
        if not 0 < offset <= len(out):
            raise ValueError("compressed data point before their beginning")
        for _ in range(length):  # copies may overlap what they write
            out.append(out[-offset])
    if len(out) != size:
        raise ValueError(f"compressed data give {len(out)} bytes instead of {size}")
    return bytes(out)
