"""The Triton form of pasting in `nonet.kernels.window_mix`: one launch to paste, and one for the gradient.

To paste, a program a block of a picture and channel reads each number from where it comes. Backward, each
number of a source asks the two mixed pictures that may have it, so nothing is added by atomics.
"""

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton

if TYPE_CHECKING:
    from nonet.kernels.window_mix import Windows

BLOCK = 1024  # numbers that a program moves


def paste(pictures: Tensor, windows: "Windows") -> Tensor:
    """Mixed pictures (M, C, H, W, D) of `pictures` (B, C, H, W, D) of any dtype."""
    _, C, H, W, D = pictures.shape
    found = pictures.new_empty(len(windows.rows), C, H, W, D)
    parts = [part.contiguous() for part in windows]
    grid = (len(found) * C, -(-H * W * D // BLOCK))
    with torch.cuda.device_of(found):
        _kernels()[0][grid](pictures.contiguous(), *parts, found, C, H * W * D, W=W, D=D, BLOCK=BLOCK)
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
        _kernels()[1][grid](
            gradient.contiguous(), own, taker, *parts, found, C, H * W * D, W=W, D=D, BLOCK=BLOCK
        )
    return found


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

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

    return paste, backward
