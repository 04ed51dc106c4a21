"""Reading a Flax checkpoint (the msgpack of `flax.training.checkpoints`) without Flax or JAX.

The file is one nested mapping. Arrays are msgpack extension 1, a packed (shape, type name, bytes); numpy
scalars are extension 3 of the same form, complex numbers extension 2. Arrays above 1 GiB are mappings of
chunks.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from nonet.errors import UserError, needs

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"


def load(source: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by their path, such as `params/encoder/encoder_norm/scale`.

    Args:
        source: a checkpoint file, or a folder with `checkpoint_N` files, of which the one with the largest
            N is read.

    Returns:
        Path -> array; bfloat16 comes as float32.

    Raises:
        UserError: there is no such file, or it is no Flax checkpoint.
    """
    path = find(source)
    msgpack = needs("msgpack", to="read a Flax checkpoint", install="pegasus[flax]")

    def extension(code: int, data: bytes) -> Any:
        if code in (_ARRAY, _SCALAR):
            shape, dtype, content = msgpack.unpackb(
                data, raw=True, max_bin_len=len(data), max_str_len=len(data)
            )
            return _array(tuple(shape), dtype.decode() if isinstance(dtype, bytes) else dtype, content)
        if code == _COMPLEX:
            return complex(*msgpack.unpackb(data))
        raise ValueError(f"extension {code} is none of Flax's")

    data = path.read_bytes()
    limits = dict.fromkeys(
        ("max_bin_len", "max_ext_len", "max_str_len", "max_map_len", "max_array_len"), len(data)
    )
    try:
        tree = msgpack.unpackb(data, ext_hook=extension, raw=False, strict_map_key=False, **limits)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise UserError(f"{path} is no Flax checkpoint (msgpack): {error}") from error
    if not isinstance(tree, dict):
        raise UserError(
            f"{path} is no Flax checkpoint: it holds a {type(tree).__name__} instead of a mapping"
        )
    arrays: dict[str, np.ndarray] = {}
    _flatten(tree, "", arrays)
    return arrays


def find(source: str | Path) -> Path:
    """The checkpoint's file.

    Raises:
        UserError: there is none.
    """
    source = Path(source)
    if source.is_file():
        return source
    if not source.is_dir():
        raise UserError(
            f"file {source.name} not found in {source.parent}; name a Flax checkpoint_N file or its folder"
        )
    numbered = [
        (int(match[1]), path)
        for path in source.iterdir()
        if (match := re.fullmatch(r"checkpoint_(\d+)", path.name))
    ]
    if not numbered:
        raise UserError(f"file checkpoint_N not found in {source}; name a Flax checkpoint or its folder")
    path = max(numbered)[1]
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, the Orbax format; save it with flax.serialization.to_bytes, and read that"
        )
    return path


def _array(shape: tuple[int, ...], dtype: str, content: bytes) -> np.ndarray:
    if dtype == "bfloat16":
        bits = np.frombuffer(content, "<u2").astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32).reshape(shape)
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape)


def _flatten(value: Any, path: str, arrays: dict[str, np.ndarray]) -> None:
    if isinstance(value, dict) and _CHUNKED in value:
        shape = tuple(int(value["shape"][key]) for key in sorted(value["shape"], key=int))
        chunks = [value["chunks"][key] for key in sorted(value["chunks"], key=int)]
        arrays[path] = np.concatenate(chunks).reshape(shape)
    elif isinstance(value, dict):
        for key, part in value.items():
            _flatten(part, f"{path}/{key}" if path else str(key), arrays)
    elif value is not None:
        arrays[path] = np.asarray(value)
