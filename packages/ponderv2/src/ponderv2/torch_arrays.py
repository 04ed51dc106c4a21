"""Files of `torch.save` with arrays, tensors and plain values, read without running what they name (ours).

Processed indoor data sets are such files with numpy arrays in dictionaries. torch's loader of weights refuses
numpy's names unless it is told of them; it is told of those that rebuild plain arrays, and of nothing else.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from nonet.errors import UserError

KINDS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "float16", "float32", "float64", "str", "bytes")  # fmt: skip


def load_torch_arrays(path: Path) -> Any:
    """The content of a file that `torch.save` wrote, with tensors as numpy arrays.

    Args:
        path: such as `scene0000_00.pth`.

    Raises:
        UserError: no such file, not such a file, or one that names anything else than tensors and arrays.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals(_names()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = str(error).partition("GLOBAL ")[2].partition(" ")[0]
        detail = (
            f"it names {named}, and only arrays are read" if named else "not a file that torch.save wrote"
        )
        raise UserError(f"{path}: {detail}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a whole file of torch.save ({str(error).splitlines()[0]})") from None
    return _as_numpy(content)


def _names() -> list[Any]:
    """What rebuilds plain arrays and numbers, under its names of numpy 1 and 2."""
    rebuild = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    made: list[Any] = [np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in KINDS)]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        made += [(rebuild, f"{module}._reconstruct"), (scalar, f"{module}.scalar")]
    return made


def _as_numpy(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _as_numpy(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_as_numpy(value) for value in content)
    return content.numpy() if hasattr(content, "detach") and hasattr(content, "numpy") else content
