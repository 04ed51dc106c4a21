"""The safetensors file layout, written and mapped with numpy alone.

Layout: 8 bytes little-endian header length, a JSON header (name -> dtype, shape, byte range), the data. It is
the published format of Hugging Face's safetensors; any of its readers opens these files.
"""

import hashlib
import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.files import replacing

Array = NDArray[Any]

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}
_CODES = {name: code for code, name in DTYPES.items()}
_LONGEST_HEADER = 100_000_000  # bytes; what the format's own reader allows


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> tuple[int, str]:
    """Write one-dimensional arrays, at once or not at all; the same arrays give the same bytes.

    Args:
        path: the file to write.
        tensors: name -> one-dimensional array of one of `DTYPES`.

    Returns:
        The size of the file in bytes and its SHA-256.
    """
    widest_first = sorted(
        tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)
    )  # keeps all aligned
    header: dict[str, Any] = {}
    end = 0
    for name in widest_first:
        begin, end = end, end + tensors[name].nbytes
        code = _CODES[tensors[name].dtype.name]
        header[name] = {"dtype": code, "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with replacing(path) as part, open(part, "wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            file.write(piece)
            digest.update(piece)
        for name in widest_first:
            little = tensors[name].astype(tensors[name].dtype.newbyteorder("<"), copy=False)
            data = np.ascontiguousarray(little).view(np.uint8).data
            file.write(data)
            digest.update(data)
    return 8 + len(text) + end, digest.hexdigest()


def map_tensors(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file as read-only views into the mapped file; nothing is copied.

    Raises:
        UserError: the file is missing, or is not a sound safetensors file.
    """
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(mapped[:8], "little")
        if not 2 <= length <= min(len(mapped) - 8, _LONGEST_HEADER):
            raise ValueError(f"header of {length} bytes in a file of {len(mapped)}")
        header = json.loads(mapped[8 : 8 + length])
        return {
            name: _view(mapped, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"
        }
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); build the shards again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a sound safetensors file ({error}); build the shards again") from error


def _view(mapped: mmap.mmap, base: int, entry: dict[str, Any]) -> Array:
    dtype = np.dtype(DTYPES[entry["dtype"]]).newbyteorder("<")
    begin, end = entry["data_offsets"]
    count = int(np.prod(entry["shape"], dtype=np.int64))
    if not 0 <= begin <= end <= len(mapped) - base or end - begin != count * dtype.itemsize:
        raise ValueError(f"bytes {begin} to {end} do not fit shape {entry['shape']}")
    if count == 0:
        return np.empty(entry["shape"], dtype)
    return np.frombuffer(mapped, dtype, count, base + begin).reshape(entry["shape"])
