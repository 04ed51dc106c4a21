"""TFRecord files of `tf.train.Example` messages, read without TensorFlow.

A record is its length (8 bytes, little-endian), the masked CRC-32C of those bytes (4), the data, and the
masked CRC-32C of the data (4); the mask is rotate_right(crc, 15) + 0xa282ead8. An Example is a map from names
to lists of bytes, floats or integers in the Protocol Buffers wire format. Source: the format notes in
TensorFlow's `record_writer.h` and `example.proto`.
"""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nonet.errors import UserError
from pegasus.crc32c import crc32c, unmasked
from pegasus.protobuf import fields, varint

LONGEST = 1 << 31  # bytes of one record; a damaged length would ask for more memory than there is
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # members of tf.train.Feature


def read_tfrecords(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The Examples of a file, gzipped or not.

    Yields:
        `("train.tfrecord:record 3", fields)`, counted from 1. A field is a str (or, if its bytes are no
        UTF-8, bytes), an int or a float where the feature has one value, and a list of them otherwise.

    Raises:
        UserError: the file is cut off or damaged, or a record is no Example.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        number = 0
        while True:
            number += 1
            where = f"{path}:record {number}"
            try:
                data = _record(file, where)
                if data is None:
                    return
                yield where, parse_example(data)
            except (EOFError, OSError, gzip.BadGzipFile) as error:
                raise UserError(f"{where}: damaged file ({error}); write or copy it again") from error
            except UserError:
                raise
            except (ValueError, struct.error) as error:
                raise UserError(f"{where}: not a tf.train.Example ({error})") from error


def _record(file: BinaryIO, where: str) -> bytes | None:
    head = file.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise UserError(f"{where}: the file ends inside a record; write or copy it again")
    length, check = struct.unpack("<QI", head)
    if crc32c(head[:8]) != unmasked(check) or length > LONGEST:
        raise UserError(f"{where}: the length does not fit its checksum: damaged, or not a TFRecord file")
    data = file.read(length + 4)
    if len(data) < length + 4:
        raise UserError(f"{where}: the file ends inside a record; write or copy it again")
    (check,) = struct.unpack("<I", data[length:])
    data = data[:length]
    if crc32c(data) != unmasked(check):
        raise UserError(f"{where}: the data do not fit their checksum; write or copy the file again")
    return data


def parse_example(data: bytes) -> dict[str, Any]:
    """The features of one serialized Example; see `read_tfrecords`.

    Raises:
        ValueError: the bytes are no Example.
    """
    found: dict[str, Any] = {}
    for number, features in fields(data):
        if number != 1 or isinstance(features, int):
            continue
        for entry_number, entry in fields(features):
            if entry_number != 1 or isinstance(entry, int):
                continue
            name, values = "", []
            for part_number, part in fields(entry):
                if isinstance(part, int):
                    raise ValueError("a feature is a number where a name and values belong")
                if part_number == 1:
                    name = bytes(part).decode("utf-8")
                elif part_number == 2:
                    values = _values(part)
            found[name] = values[0] if len(values) == 1 else values
    return found


def _values(feature: memoryview) -> list[Any]:
    values: list[Any] = []
    for kind, listing in fields(feature):
        if isinstance(listing, int):
            raise ValueError("a feature holds a bare number")
        for number, item in fields(listing):
            if number != 1:
                continue
            if kind == _BYTES_LIST:
                values.append(_text(item))
            elif kind == _FLOAT_LIST:
                values += _floats(item)
            elif kind == _INT64_LIST:
                values += _integers(item)
    return values


def _floats(item: int | memoryview) -> list[float]:
    if isinstance(item, int):
        raise ValueError("a number where packed floats belong")
    return np.frombuffer(item, "<f4").tolist()  # type: ignore[no-any-return]


def _integers(item: int | memoryview) -> list[int]:
    """One integer or a packed run of them; the wire has negative ones as their two's complement."""
    values, at = [], 0
    if isinstance(item, int):
        values.append(item)
    else:
        while at < len(item):
            value, at = varint(item, at)
            values.append(value)
    return [value - (1 << 64) if value >= 1 << 63 else value for value in values]


def _text(item: int | memoryview) -> str | bytes:
    if isinstance(item, int):
        raise ValueError("a number where bytes belong")
    data = bytes(item)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data
