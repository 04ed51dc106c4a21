"""PCD files of the Point Cloud Library, in all three encodings, with the LZF coding of the last (ours).

Layout: a text header, then rows of text (`ascii`), rows of bytes (`binary`), or (`binary_compressed`) two
32-bit sizes and an LZF stream of the fields one after the other. LZF is Marc Lehmann's: literal runs and
references back into what was decoded.
"""

from pathlib import Path

import numpy as np

from nonet.errors import UserError
from nonet.files import replacing
from ponderv2.scenes import Array

_KINDS = {"I": "i", "U": "u", "F": "f"}


def read_pcd_fields(path: Path) -> dict[str, Array]:
    """The fields of a PCD file by name.

    Args:
        path: the file.

    Returns:
        (N,) arrays of the file's own types, or (N, k) for fields of COUNT k. `rgb` and `rgba` stay packed.

    Raises:
        UserError: no such file, no PCD file, or a broken one.
    """
    try:
        whole = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    header, encoding, at = _header(whole, path)
    try:
        points = int(header["POINTS"][0])
        kind = np.dtype(
            [
                (name, f"<{_KINDS[letter]}{size}", (int(count),) if int(count) > 1 else ())
                for name, letter, size, count in _fields(header)
            ]
        )
        if encoding == "ascii":
            return _ascii(whole[at:], kind, points)
        if encoding == "binary":
            if len(whole) - at < points * kind.itemsize:
                raise ValueError(f"{(len(whole) - at) // kind.itemsize} of {points} points are there")
            table = np.frombuffer(whole, kind, points, at)
            return {name: table[name].copy() for name in kind.names or ()}
        if encoding != "binary_compressed":
            raise ValueError(f"DATA {encoding} is not known")
        packed, plain = np.frombuffer(whole, "<u4", 2, at).tolist()
        if plain != points * kind.itemsize:
            raise ValueError(f"{plain} bytes for {points} points of {kind.itemsize}")
        body = lzf_decompressed(whole[at + 8 : at + 8 + packed], plain)
        found, place = {}, 0
        for name in kind.names or ():
            found[name] = np.frombuffer(body, kind[name].base, points * int(np.prod(kind[name].shape)), place)
            found[name] = found[name].reshape(points, *kind[name].shape)
            place += points * kind[name].itemsize
        return found
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{path}: a broken PCD file: {error}") from None


def write_pcd_fields(path: Path, fields: dict[str, Array], *, encoding: str = "binary_compressed") -> None:
    """Write a PCD file, at once or not at all.

    Args:
        path: the file.
        fields: name -> (N,) array of 1, 2, 4 or 8 bytes an item.
        encoding: `ascii`, `binary` or `binary_compressed`.
    """
    (points,) = {len(values) for values in fields.values()}
    letters = {kind: letter for letter, kind in _KINDS.items()}
    columns = [values.astype(values.dtype.newbyteorder("<"), copy=False) for values in fields.values()]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(fields),
        "SIZE " + " ".join(str(column.dtype.itemsize) for column in columns),
        "TYPE " + " ".join(letters[column.dtype.kind] for column in columns),
        "COUNT " + " ".join("1" for _ in columns),
        f"WIDTH {points}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {points}",
        f"DATA {encoding}\n",
    ]
    if encoding == "ascii":
        body = "".join(
            " ".join(repr(value) for value in row) + "\n"
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ).encode()
    elif encoding == "binary":
        table = np.zeros(points, [(name, column.dtype) for name, column in zip(fields, columns, strict=True)])
        for name, column in zip(fields, columns, strict=True):
            table[name] = column
        body = table.tobytes()
    elif encoding == "binary_compressed":
        plain = b"".join(column.tobytes() for column in columns)
        packed = lzf_compressed(plain)
        body = np.array([len(packed), len(plain)], "<u4").tobytes() + packed
    else:
        raise ValueError(f"encoding {encoding} is not known")
    with replacing(path) as part:
        part.write_bytes("\n".join(header).encode() + body)


def lzf_decompressed(packed: bytes, size: int) -> bytes:
    """The bytes of an LZF stream.

    Args:
        packed: the stream.
        size: how many bytes come out.

    Raises:
        ValueError: the stream is damaged.
    """
    out = bytearray()
    at, end = 0, len(packed)
    while at < end:
        control = packed[at]
        at += 1
        if control < 32:  # a run of control + 1 bytes as they are
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += packed[at]
            at += 1
        back = len(out) - ((control & 31) << 8 | packed[at]) - 1
        at += 1
        length += 2
        if back < 0:
            raise ValueError("the LZF stream refers to what is before its beginning")
        chunk = out[back : back + length]
        while len(chunk) < length:  # a reference may overlap what it makes: the period repeats
            chunk += chunk[: length - len(chunk)]
        out += chunk
    if len(out) != size or at != end:
        raise ValueError(f"the LZF stream gives {len(out)} bytes in place of {size}")
    return bytes(out)


def lzf_compressed(plain: bytes) -> bytes:
    """An LZF stream of bytes: greedy, with a table of the last place of each three bytes."""
    out, literal = bytearray(), bytearray()
    last: dict[bytes, int] = {}

    def flush() -> None:
        for start in range(0, len(literal), 32):
            part = literal[start : start + 32]
            out.append(len(part) - 1)
            out.extend(part)
        literal.clear()

    at = 0
    while at < len(plain):
        key = plain[at : at + 3]
        back = last.get(key, -1)
        last[key] = at
        distance = at - back - 1
        if back < 0 or len(key) < 3 or distance >= 1 << 13:
            literal.append(plain[at])
            at += 1
            continue
        length = 3
        while length < 264 and at + length < len(plain) and plain[back + length] == plain[at + length]:
            length += 1
        flush()
        code = length - 2
        out.append(min(code, 7) << 5 | distance >> 8)
        if code >= 7:
            out.append(code - 7)
        out.append(distance & 255)
        at += length
    flush()
    return bytes(out)


def _header(whole: bytes, path: Path) -> tuple[dict[str, list[str]], str, int]:
    header: dict[str, list[str]] = {}
    at = 0
    while (end := whole.find(b"\n", at)) >= 0 and len(header) < 20:
        line = whole[at:end].decode("latin-1").strip()
        at = end + 1
        if not line or line.startswith("#"):
            continue
        name, *values = line.split()
        header[name] = values
        if name == "DATA":
            return header, values[0] if values else "", at
        if name not in ("VERSION", "FIELDS", "COLUMNS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT",
                        "VIEWPOINT", "POINTS"):  # fmt: skip
            break
    raise UserError(f"{path}: not a PCD file: no line DATA in its header")


def _fields(header: dict[str, list[str]]) -> list[tuple[str, str, str, str]]:
    names = header.get("FIELDS") or header["COLUMNS"]
    counts = header.get("COUNT", ["1"] * len(names))
    unique = [name if name != "_" else f"_{number}" for number, name in enumerate(names)]  # padding
    return list(zip(unique, header["TYPE"], header["SIZE"], counts, strict=True))


def _ascii(body: bytes, kind: np.dtype, points: int) -> dict[str, Array]:
    numbers = np.array(body.split(), np.float64)
    widths = [int(np.prod(kind[name].shape)) for name in kind.names or ()]
    table = numbers.reshape(points, sum(widths))
    found = {}
    place = 0
    for name, width in zip(kind.names or (), widths, strict=True):
        part = table[:, place : place + width].astype(kind[name].base)
        found[name] = part.reshape(points, *kind[name].shape)
        place += width
    return found
