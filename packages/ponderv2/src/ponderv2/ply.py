"""PLY files, ASCII and binary of either byte order, read and written with numpy alone (ours).

The format is that of Greg Turk's "The PLY Polygon File Format" (1994): elements with properties, each a
number or a list of numbers. Lists are read fast where all are of one length, as the faces of a triangle mesh.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nonet.errors import UserError
from nonet.files import replacing
from ponderv2.scenes import Array

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8",
}  # fmt: skip
_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint",
          "f4": "float", "f8": "double"}  # fmt: skip
_ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 1000  # lines

Elements = dict[str, dict[str, Array]]


class _Property(NamedTuple):
    name: str
    type: str
    length: str | None  # type of a list's length; None for a number


class _Element(NamedTuple):
    name: str
    rows: int
    properties: list[_Property]


def read_ply_elements(path: Path) -> Elements:
    """All that a PLY file holds: element -> property -> array of one value, or one list, a row.

    Args:
        path: the file.

    Returns:
        Numbers as (rows,) arrays of the file's own type. Lists as (rows, k) where all have k items, else as
        (rows,) object array of arrays.

    Raises:
        UserError: no such file, no PLY file, or one that ends too early.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            order, elements = _header(file, path)
            body = file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return _ascii(body, elements) if order is None else _binary(body, elements, order)
    except (ValueError, IndexError, OverflowError) as error:
        raise UserError(f"{path}: a broken PLY file: {error}") from None


def write_ply_elements(path: Path, elements: Mapping[str, Mapping[str, Array]]) -> None:
    """Write a binary (little-endian) PLY file, at once or not at all.

    Args:
        path: the file.
        elements: element -> property -> (rows,) numbers, or (rows, k) for lists of k numbers. 64-bit whole
            numbers become 32-bit ones.

    Raises:
        ValueError: properties of one element differ in length, or a number does not fit 32 bits.
    """
    header = ["ply", "format binary_little_endian 1.0"]
    tables = []
    for element, properties in elements.items():
        (rows,) = {len(values) for values in properties.values()} or {0}
        header.append(f"element {element} {rows}")
        columns: list[tuple[Any, ...]] = []
        for name, values in properties.items():
            kind = _kind(values, f"{element} {name}")
            if values.ndim == 2:
                header.append(f"property list uchar {_NAMES[kind]} {name}")
                columns += [(f"{name} count", "u1"), (name, "<" + kind, (values.shape[1],))]
            else:
                header.append(f"property {_NAMES[kind]} {name}")
                columns.append((name, "<" + kind))
        table = np.zeros(rows, np.dtype(columns))
        for name, values in properties.items():
            table[name] = values
            if values.ndim == 2:
                table[f"{name} count"] = values.shape[1]
        tables.append(table)
    with replacing(path) as part, open(part, "wb") as file:
        file.write("\n".join([*header, "end_header\n"]).encode())
        for table in tables:
            file.write(table.tobytes())


def _header(file: BinaryIO, path: Path) -> tuple[str | None, list[_Element]]:
    if file.readline(8).strip() != b"ply":
        raise UserError(f"{path}: not a PLY file")
    order: str | None = ""
    elements: list[_Element] = []
    for number in range(2, _LONGEST_HEADER):
        line = file.readline(4096).decode("latin-1")
        words = line.split()
        try:
            match words:
                case ["end_header"]:
                    if order == "":
                        raise ValueError("no format is given")
                    return order, elements
                case ["format", name, _]:
                    order = _ORDERS[name]
                case ["element", name, rows]:
                    elements.append(_Element(name, int(rows), []))
                case ["property", "list", count, kind, name]:
                    elements[-1].properties.append(_Property(name, TYPES[kind], TYPES[count]))
                case ["property", kind, name]:
                    elements[-1].properties.append(_Property(name, TYPES[kind], None))
                case ["comment" | "obj_info", *_]:
                    pass
                case _:
                    raise ValueError("not a line of a header")
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(f"{path}:{number}: {error}: {line.strip()[:60]}") from None
    raise UserError(f"{path}: its header does not end")


def _binary(body: bytes, elements: Sequence[_Element], order: str) -> Elements:
    found: Elements = {}
    at = 0
    for element in elements:
        table, at = _even_rows(body, at, element, order)
        if table is None:
            found[element.name], at = _uneven_rows(body, at, element, order)
            continue
        found[element.name] = {
            part.name: table[part.name].astype(part.type, copy=True) for part in element.properties
        }
    return found


def _even_rows(body: bytes, at: int, element: _Element, order: str) -> tuple[Any, int]:
    """The rows as a table if lists have the same length in each, else None and the same place."""
    columns: list[tuple[Any, ...]] = []
    size = 0
    for part in element.properties:
        if part.length is not None:
            if not element.rows:
                columns.append((part.name, order + part.type, (0,)))
                continue
            length = int(np.frombuffer(body, order + part.length, 1, at + size)[0])
            columns.append((f"{part.name} count", order + part.length))
            columns.append((part.name, order + part.type, (length,)))
        else:
            columns.append((part.name, order + part.type))
        size = np.dtype(columns).itemsize
    kind = np.dtype(columns)
    end = at + element.rows * kind.itemsize
    lists = [part.name for part in element.properties if part.length is not None]
    if end > len(body):
        if lists:
            return None, at
        raise ValueError(
            f"element {element.name} has {(len(body) - at) // kind.itemsize} of {element.rows} rows"
        )
    table = np.frombuffer(body, kind, element.rows, at)
    if element.rows and any((table[f"{name} count"] != kind[name].shape[0]).any() for name in lists):
        return None, at
    return table, end


def _uneven_rows(body: bytes, at: int, element: _Element, order: str) -> tuple[dict[str, Array], int]:
    columns: dict[str, list[Any]] = {part.name: [] for part in element.properties}
    for _ in range(element.rows):
        for part in element.properties:
            length = 1
            if part.length is not None:
                length = int(np.frombuffer(body, order + part.length, 1, at)[0])
                at += np.dtype(part.length).itemsize
            values = np.frombuffer(body, order + part.type, length, at)
            at += values.nbytes
            columns[part.name].append(values.astype(part.type))
    return _columns(element, columns), at


def _ascii(body: bytes, elements: Sequence[_Element]) -> Elements:
    numbers = np.array(body.split(), np.float64) if body.strip() else np.zeros(0)
    found: Elements = {}
    at = 0
    for element in elements:
        if all(part.length is None for part in element.properties):
            width = len(element.properties)
            table = numbers[at : at + element.rows * width]
            if len(table) < element.rows * width:
                raise ValueError(f"element {element.name} has {len(table) // width} of {element.rows} rows")
            at += len(table)
            table = table.reshape(element.rows, width)
            found[element.name] = {
                part.name: table[:, i].astype(part.type) for i, part in enumerate(element.properties)
            }
            continue
        columns: dict[str, list[Any]] = {part.name: [] for part in element.properties}
        for _ in range(element.rows):
            for part in element.properties:
                length = 1
                if part.length is not None:
                    length, at = int(numbers[at]), at + 1
                values = numbers[at : at + length]
                if len(values) < length:
                    raise ValueError(f"element {element.name} ends too early")
                at += length
                columns[part.name].append(values.astype(part.type))
        found[element.name] = _columns(element, columns)
    return found


def _columns(element: _Element, columns: Mapping[str, list[Any]]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for part in element.properties:
        rows = columns[part.name]
        if part.length is None:
            found[part.name] = np.concatenate(rows) if rows else np.zeros(0, part.type)
        elif len({len(row) for row in rows}) == 1:
            found[part.name] = np.stack(rows)
        else:
            found[part.name] = np.empty(len(rows), object)
            found[part.name][:] = rows
    return found


def _kind(values: Array, place: str) -> str:
    kind = values.dtype.str[1:]
    if kind in ("i8", "u8", "b1"):
        if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
            raise ValueError(f"{place}: {values.max()} does not fit 32 bits")
        return "u1" if kind == "b1" else "i4"
    if kind not in _NAMES:
        raise ValueError(f"{place}: a PLY file has no {values.dtype}")
    return kind
