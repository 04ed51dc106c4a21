"""The Triton form of `nonet.kernels.window_mix`: a launch to search, one to paste, one for the gradient.

To search, two programs a mixed picture, one for each window: a summed-area table in registers goes to memory
once and comes back at four corners. To paste, a program a block of a picture and channel reads each number
from where it comes. Backward, each number of a source asks the two mixed pictures that may have it, so
nothing is added by atomics.
"""

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton

if TYPE_CHECKING:
    from nonet.kernels.window_mix import Windows

BLOCK = 1024  # numbers that a program moves


def search(scores: Tensor, sides: Tensor, rows: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the least windows of `rows` and of the greatest of `partner`, (M, 2) int64 each.

    Args:
        scores: (B, H, W) float.
        sides: (M,) int64, on the same device as the rest.
        rows: (M,) int64.
        partner: (M,) int64.
    """
    M, (H, W) = len(rows), scores.shape[1:]
    high, wide = (max(2, 1 << (side - 1).bit_length()) for side in (H, W))
    tables = torch.empty(M, 2, high, wide, dtype=torch.float64, device=scores.device)
    found = rows.new_empty(2, M, 2)
    parts = (scores.contiguous(), sides.contiguous(), rows.contiguous(), partner.contiguous())
    with torch.cuda.device_of(scores):  # Triton launches on the current device
        _kernels()[0][(M, 2)](*parts, tables, found, M, H, W, HIGH=high, WIDE=wide, num_warps=4)
    return found[0], found[1]


def paste(pictures: Tensor, windows: "Windows") -> Tensor:
    """Mixed pictures (M, C, H, W, D) of `pictures` (B, C, H, W, D) of any dtype."""
    _, C, H, W, D = pictures.shape
    found = pictures.new_empty(len(windows.rows), C, H, W, D)
    parts = [part.contiguous() for part in windows]
    grid = (len(found) * C, -(-H * W * D // BLOCK))
    with torch.cuda.device_of(found):
        _kernels()[1][grid](pictures.contiguous(), *parts, found, C, H * W * D, W=W, D=D, BLOCK=BLOCK)
    return found


def paste_backward(gradient: Tensor, windows: "Windows", count: int) -> Tensor:
    """The gradient (B, C, H, W, D) of B = `count` pictures, of that (M, C, H, W, D) of the mixed ones."""
    _, C, H, W, D = gradient.shape
    found = gradient.new_empty(count, C, H, W, D)
    rows, partner, *parts = (part.contiguous() for part in windows)
    own, taker = rows.new_full((2, count), -1).unbind()
    numbers = torch.arange(len(rows), device=rows.device)
    own[rows], taker[partner] = numbers, numbers
    grid = (count * C, -(-H * W * D // BLOCK))
    with torch.cuda.device_of(found):
        _kernels()[2][grid](
            gradient.contiguous(), own, taker, *parts, found, C, H * W * D, W=W, D=D, BLOCK=BLOCK
        )
    return found


@functools.cache
def _kernels() -> tuple[Any, Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def search(  # type: ignore[no-untyped-def]
        scores, sides, rows, partner, tables, found, M, H, W, HIGH: tl.constexpr, WIDE: tl.constexpr
    ):  # fmt: skip
        m, most = tl.program_id(0), tl.program_id(1)
        picture = tl.where(most == 0, tl.load(rows + m), tl.load(partner + m))
        side = tl.load(sides + m).to(tl.int32)
        y, x = tl.arange(0, HIGH)[:, None], tl.arange(0, WIDE)[None, :]
        real = (y < H) & (x < W)
        values = tl.load(scores + picture * H * W + y * W + x, mask=real, other=0).to(tl.float64)
        table = tables + (m * 2 + most).to(tl.int64) * HIGH * WIDE
        tl.store(table + y * WIDE + x, tl.cumsum(tl.cumsum(values, 0), 1))
        tl.debug_barrier()  # the corners below were stored by other threads
        fits = (y + side <= H) & (x + side <= W)
        low, right = (y + side - 1) * WIDE, x + side - 1
        sums = tl.load(table + low + right, mask=fits, other=0.0)
        sums -= tl.load(table + low + x - 1, mask=fits & (x > 0), other=0.0)
        over = tl.load(table + (y - 1) * WIDE + right, mask=fits & (y > 0), other=0.0)
        over -= tl.load(table + (y - 1) * WIDE + x - 1, mask=fits & (y > 0) & (x > 0), other=0.0)
        sums = sums - over
        sums = tl.where(fits, tl.where(most == 0, sums, -sums), float("inf"))
        best = tl.argmin(tl.reshape(sums, (HIGH * WIDE,)), 0, tie_break_left=True)
        place = found + (most * M + m).to(tl.int64) * 2
        tl.store(place, (best // WIDE).to(tl.int64))
        tl.store(place + 1, (best % WIDE).to(tl.int64))

    @triton.jit  # type: ignore[untyped-decorator]
    def paste(  # type: ignore[no-untyped-def]
        pictures, rows, partner, to, source, sides, found, C, size,
        W: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        plane = tl.program_id(0).to(tl.int64)
        m, channel = plane // C, plane % C
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        y, x = at // D // W, at // D % W
        side = tl.load(sides + m)
        top, left = tl.load(to + 2 * m), tl.load(to + 2 * m + 1)
        moved = ((tl.load(source + 2 * m) - top) * W + tl.load(source + 2 * m + 1) - left) * D
        inside = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
        own = (tl.load(rows + m) * C + channel) * size
        other = (tl.load(partner + m) * C + channel) * size + moved
        values = tl.load(pictures + tl.where(inside, other, own) + at, mask=at < size)
        tl.store(found + plane * size + at, values, mask=at < size)

    @triton.jit  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[no-untyped-def]
        gradient, own, taker, to, source, sides, found, C, size,
        W: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        plane = tl.program_id(0).to(tl.int64)
        picture, channel = plane // C, plane % C
        at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        y, x = at // D // W, at // D % W
        m = tl.load(own + picture)  # -1: not mixed itself
        there = at < tl.where(m >= 0, size, 0)
        m = tl.maximum(m, 0)
        top, left, side = tl.load(to + 2 * m), tl.load(to + 2 * m + 1), tl.load(sides + m)
        bare = (y < top) | (y >= top + side) | (x < left) | (x >= left + side)
        values = tl.load(gradient + (m * C + channel) * size + at, mask=bare & there, other=0)
        m = tl.load(taker + picture)  # -1: nothing is cut from it
        there = at < tl.where(m >= 0, size, 0)
        m = tl.maximum(m, 0)
        top, left, side = tl.load(source + 2 * m), tl.load(source + 2 * m + 1), tl.load(sides + m)
        taken = (y >= top) & (y < top + side) & (x >= left) & (x < left + side) & there
        moved = ((tl.load(to + 2 * m) - top) * W + tl.load(to + 2 * m + 1) - left) * D
        values += tl.load(gradient + (m * C + channel) * size + at + moved, mask=taken, other=0)
        tl.store(found + plane * size + at, values, mask=at < size)

    return search, paste, backward
