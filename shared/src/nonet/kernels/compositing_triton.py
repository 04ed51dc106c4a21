"""The Triton form of `nonet.kernels.compositing`: a program a ray, whose samples stay in registers.

The running product before each sample is an inclusive scan of the factors moved by one, and so is the sum
behind each. To subtract or divide the own term out instead would cancel all digits at a wall. The products
are moved by way of memory: the gradient's own row, before it holds the gradient.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton

COLUMNS = 32  # numbers of a sample that a program has at once


def composite_forward(alpha: Tensor, values: Tensor, leak: float) -> tuple[Tensor, Tensor]:
    """Weights (R, S) and sums (R, C) of alpha (R, S) and values (R, S, C), of one kind of float."""
    R, S, C = values.shape
    weights, seen = torch.empty_like(alpha, memory_format=torch.contiguous_format), values.new_zeros((R, C))
    if R and S:
        with torch.cuda.device_of(alpha):  # Triton launches on the current device
            _kernels()[0][(R,)](
                alpha.contiguous(), values.contiguous(), weights, seen, S, C,
                LEAK=leak, WIDE=_wide(S), COLUMNS=COLUMNS,
            )  # fmt: skip
    return weights, seen


def composite_backward(
    alpha: Tensor,
    values: Tensor,
    weights: Tensor,
    of_weights: Tensor,
    of_seen: Tensor,
    to_alpha: bool,
    to_values: bool,
    leak: float,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients (R, S) of alpha and (R, S, C) of values, each if asked for, of those of both results."""
    R, S, C = values.shape
    d_alpha = torch.empty_like(alpha, memory_format=torch.contiguous_format)
    d_values = torch.empty_like(values, memory_format=torch.contiguous_format) if to_values else None
    if R and S:
        given = [part.contiguous() for part in (alpha, values, weights, of_weights, of_seen)]
        with torch.cuda.device_of(alpha):
            _kernels()[1][(R,)](
                *given, d_alpha, d_alpha if d_values is None else d_values, S, C,
                LEAK=leak, WIDE=_wide(S), COLUMNS=COLUMNS, TO_VALUES=to_values,
            )  # fmt: skip
    return d_alpha if to_alpha else None, d_values


def _wide(S: int) -> int:
    return max(16, 1 << (S - 1).bit_length())


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[no-untyped-def]
        alpha, values, weights, seen, S, C,
        LEAK: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        ray = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, WIDE)
        own = tl.load(alpha + ray * S + at, mask=at < S, other=0)
        nearer = tl.load(alpha + ray * S + at - 1, mask=(at > 0) & (at <= S), other=0)
        clear = tl.where(at > 0, 1 - nearer + LEAK, 1.0).to(own.dtype)
        weight = own * tl.cumprod(clear, 0)
        tl.store(weights + ray * S + at, weight, mask=at < S)
        for first in range(0, C, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            real = (at < S)[:, None] & (column < C)[None, :]
            part = tl.load(values + (ray * S + at)[:, None] * C + column[None, :], mask=real, other=0)
            tl.store(seen + ray * C + column, tl.sum(part * weight[:, None], 0), mask=column < C)

    @triton.jit  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[no-untyped-def]
        alpha, values, weights, of_weights, of_seen, d_alpha, d_values, S, C,
        LEAK: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, TO_VALUES: tl.constexpr,
    ):  # fmt: skip
        ray = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, WIDE)
        row = ray * S + at
        own = tl.load(alpha + row, mask=at < S, other=0)
        nearer = tl.load(alpha + row - 1, mask=(at > 0) & (at <= S), other=0)
        weight = tl.load(weights + row, mask=at < S, other=0)
        arrives = tl.load(of_weights + row, mask=at < S, other=0)
        for first in range(0, C, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            place = row[:, None] * C + column[None, :]
            real = (at < S)[:, None] & (column < C)[None, :]
            got = tl.load(of_seen + ray * C + column, mask=column < C, other=0)
            arrives += tl.sum(tl.load(values + place, mask=real, other=0) * got[None, :], 1)
            if TO_VALUES:
                tl.store(d_values + place, weight[:, None] * got[None, :], mask=real)
        clear = tl.where(at > 0, 1 - nearer + LEAK, 1.0).to(own.dtype)
        reach = tl.cumprod(clear, 0)
        product = arrives * weight
        tl.store(d_alpha + row, product, mask=at < S)
        tl.debug_barrier()  # the next sample's product was stored by another thread
        behind = tl.cumsum(tl.load(d_alpha + row + 1, mask=at + 1 < S, other=0), 0, reverse=True)
        tl.debug_barrier()  # all are read before one is overwritten
        tl.store(d_alpha + row, reach * arrives - behind / (1 - own + LEAK), mask=at < S)

    return forward, backward
