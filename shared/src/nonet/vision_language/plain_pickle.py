"""Pickles that hold plain data only: lists, dictionaries, texts and numbers, and nothing that runs (ours)."""

import io
import pickle
from pathlib import Path
from typing import Any

from nonet.errors import UserError


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Refuse every name: plain data has none."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, and plain data names nothing")


def load_plain(path: Path) -> Any:
    """The content of a pickle, of Python 2 as well.

    Args:
        path: such as `refs(unc).p`.

    Raises:
        UserError: no such file, no pickle, or one that wants to load a class or call a function.
    """
    try:
        return _Plain(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{path}: not a pickle of plain data ({error})") from error
