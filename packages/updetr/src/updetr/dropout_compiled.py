"""Dropout compiled for processors: random bits, mask and scale in one pass, nothing kept for the way back.

Word w of a draw is number w of a SplitMix64 sequence (Steele et al. 2014), so that any part of the mask can
be made by itself: gradients make theirs again from the seed, and threads share the work.
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from nonet.kernels.side_by_side import side_by_side

BLOCK = 1024
"""words that are made at a time, of four elements each"""
PART = 64 * BLOCK
"""words of a thread's job"""
STEP, ONE, TWO = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
A, B, C = np.uint64(30), np.uint64(27), np.uint64(31)


class Dropped(torch.autograd.Function):
    """Elements of a float32 or float64 tensor on a processor, zeroed or scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: int, scale: float, seed: int) -> Tensor:
        """Zeroes the elements whose 16 bits are below `cut`."""
        ctx.drawn = cut, scale, seed
        return _masked(x, cut, scale, seed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        """The same elements of the gradient; that of a gradient, too."""
        return Dropped.apply(gradient, *ctx.drawn), None, None, None  # type: ignore[no-untyped-call]


def _masked(x: Tensor, cut: int, scale: float, seed: int) -> Tensor:
    found = torch.empty_like(x, memory_format=torch.contiguous_format)
    given, out = (side.contiguous().view(-1).numpy() for side in (x.detach(), found))
    factor = given.dtype.type(scale)
    words = -(-len(given) // 4)

    def part(job: int) -> None:
        _drop(given, out, np.uint16(cut), factor, np.uint64(seed), job * PART, min(words, (job + 1) * PART))

    side_by_side(part, -(-words // PART), worthwhile=words > PART)
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _drop(x: Any, out: Any, cut: Any, scale: Any, seed: Any, first: int, last: int) -> None:
    """Words `first` to `last`: 16 bits for each of their four elements."""
    words = np.empty(BLOCK, np.uint64)
    bits = words.view(np.uint16)
    zero = x.dtype.type(0)
    for start in range(first, last, BLOCK):
        state = seed + np.uint64(start + 1) * STEP
        for i in range(BLOCK):
            z = state + np.uint64(i) * STEP
            z = (z ^ (z >> A)) * ONE
            z = (z ^ (z >> B)) * TWO
            words[i] = z ^ (z >> C)
        begin = 4 * start
        for i in range(min(4 * min(BLOCK, last - start), len(x) - begin)):
            out[begin + i] = x[begin + i] * scale if bits[i] >= cut else zero
