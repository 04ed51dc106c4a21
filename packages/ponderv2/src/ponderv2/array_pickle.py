"""Pickles of plain data and numpy arrays, read without running anything they name (ours).

Info files of driving data sets are pickles. Python's unpickler calls whatever a pickle names; this one knows
few names of numpy, and what stands behind them here are functions of ours that check what they are given:
arrays and numbers whose items are numbers, truth values or texts, never Python objects.
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from nonet.errors import UserError

KINDS = "biufSU"  # of numpy's items: truth values, whole and real numbers, bytes, texts


def load_arrays(path: Path) -> Any:
    """The content of a pickle of lists, tuples, sets, dictionaries, texts, numbers and numpy arrays.

    Args:
        path: such as `nuscenes_infos_train.pkl`.

    Raises:
        UserError: no such file, no pickle, or one that names anything else than numpy's plain arrays.
    """
    try:
        return _Arrays(io.BytesIO(path.read_bytes())).load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name the pickle in it") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: not a pickle of plain data and arrays ({error})") from error


class _DType:
    """Stands for `numpy.dtype` until its byte order is known: the real one would take any state."""

    def __init__(self, code: str) -> None:
        kind = np.dtype(code)
        if kind.kind not in KINDS or kind.names is not None or kind.subdtype is not None:
            raise pickle.UnpicklingError(f"it holds items of type {code!r}")
        self.plain = kind

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[2] is not None or state[3] is not None or state[4] is not None:
            raise pickle.UnpicklingError("it holds items of several fields")
        if state[1] in ("<", ">"):
            self.plain = self.plain.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """An array whose state is checked before numpy sees it."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:  # type: ignore[override]
        _version, shape, kind, by_columns, items = state
        if not isinstance(kind, _DType) or not isinstance(items, bytes):
            raise pickle.UnpicklingError("an array in it is not made of plain items")
        super().__setstate__((1, shape, kind.plain, by_columns, items))  # type: ignore[misc]


def _dtype(code: str, *_: Any) -> _DType:
    return _DType(code)


def _array(*_: Any) -> _Array:
    return _Array.__new__(_Array, (0,), np.dtype("b"))


def _from_buffer(items: Any, kind: Any, shape: Any, order: str) -> Any:  # how protocol 5 writes arrays
    if not isinstance(kind, _DType) or not isinstance(items, bytes | bytearray):
        raise pickle.UnpicklingError("an array in it is not made of plain items")
    return np.frombuffer(bytes(items), kind.plain).reshape(shape, order="F" if order == "F" else "C").copy()


def _scalar(kind: Any, item: Any) -> Any:
    if not isinstance(kind, _DType) or not isinstance(item, bytes):
        raise pickle.UnpicklingError("a number in it is not plain")
    return np.frombuffer(item, kind.plain, 1)[0]


def _bytes(text: str, encoding: str = "utf-8") -> bytes:
    if encoding != "latin1":  # how pickles of protocol 2 write bytes
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:  # how protocol 2 writes none at all
    return b""


_NAMES = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): OrderedDict,
} | {
    (module, name): made
    for core in ("numpy.core", "numpy._core")
    for module, name, made in (
        (f"{core}.multiarray", "_reconstruct", _array),
        (f"{core}.multiarray", "scalar", _scalar),
        (f"{core}.numeric", "_frombuffer", _from_buffer),
    )
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; every other name is refused."""
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only numpy's arrays are read")
        return _NAMES[module, name]
