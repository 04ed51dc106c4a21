"""Rows of different lengths as one tensor (ours)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def pad(rows: Sequence[np.ndarray], filler: int) -> "Tensor":
    """(B, L) int64, L the longest row's length rounded up to a multiple of 8; `filler` behind short rows."""
    import torch

    length = max(map(len, rows))
    out = np.full((len(rows), -(-max(length, 1) // 8) * 8), filler, np.int64)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return torch.from_numpy(out)
