"""The Triton form of `nonet.kernels.sparse_conv`: a program a tile of outputs, and one a tile of weights.

Forward, a program walks over the taps, reads from the map's table which input each of its outputs has there,
gathers those rows into a tile, and multiplies it with the tap's weights; a tap that none of its outputs has
is left out. Outputs are voxels in order of their keys, so neighbours in space sit in one program and such
taps are many. The weights' gradient is summed by tap in a fixed number of shares of its pairs, which are then
added up in order. Nothing is added atomically: the same bits each time.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton
from nonet.kernels.kernel_map import KernelMap

ROWS = 64  # outputs, or pairs, that a program has at once
MOST = 64  # channels of a tile
PROGRAMS = 2048  # that the weights' gradient is shared out to, if there are enough pairs


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """(n_out, D): bias plus the sum over pairs of an output of features times the tap's weights.

    Args:
        features: (n_in, C) float16, bfloat16 or float32.
        weight: (K, C, D), same dtype.
        bias: (D,), same dtype, or None.
        kernel_map: on the same device.
    """
    K, C, D = weight.shape
    found = features.new_empty(kernel_map.n_out, D)
    if not kernel_map.n_out:
        return found
    table = kernel_map.table()
    with torch.cuda.device_of(found):  # Triton launches on the current device
        _kernels()[0][(-(-kernel_map.n_out // ROWS), -(-D // _tile(D)))](
            features.contiguous(), weight.contiguous(), weight if bias is None else bias.contiguous(), table,
            found, kernel_map.n_out, K, C, D, BIAS=bias is not None, ROWS=ROWS, INNER=_tile(C),
            OUTER=_tile(D), PRECISION=_precision(),
        )  # fmt: skip
    return found


def weight_gradient(features: Tensor, gradient: Tensor, kernel_map: KernelMap) -> Tensor:
    """(K, C, D): over the pairs of each tap, the sum of input rows times output gradients.

    Args:
        features: (n_in, C) float16, bfloat16 or float32.
        gradient: (n_out, D), same dtype.
        kernel_map: on the same device.
    """
    K, C, D = kernel_map.taps, features.shape[1], gradient.shape[1]
    tiles = -(-C // _tile(C)), -(-D // _tile(D))
    most = int(torch.diff(kernel_map.starts).max())
    shares = max(1, min(PROGRAMS // (K * tiles[0] * tiles[1]), -(-most // ROWS)))
    parts = torch.zeros(shares, K, C, D, dtype=torch.float32, device=features.device)
    starts = kernel_map.starts.to(features.device)
    with torch.cuda.device_of(features):
        _kernels()[1][(K * shares, *tiles)](
            features.contiguous(), gradient.contiguous(), kernel_map.inputs, kernel_map.outputs, starts,
            parts, K, C, D, shares, ROWS=ROWS, INNER=_tile(C), OUTER=_tile(D), PRECISION=_precision(),
        )  # fmt: skip
    return parts.sum(0).to(features.dtype)


def _tile(channels: int) -> int:
    """Channels of a tile: a power of two that a matrix unit takes."""
    return min(MOST, max(16, 1 << (channels - 1).bit_length()))


def _precision() -> str:
    """How float32 is multiplied: as torch's own matrix products are."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def convolve(  # type: ignore[no-untyped-def]
        features, weight, bias, table, found, n_out, K, C, D, BIAS: tl.constexpr,
        ROWS: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        columns = tl.program_id(1) * OUTER + tl.arange(0, OUTER)
        inner = tl.arange(0, INNER)
        total = tl.zeros((ROWS, OUTER), tl.float32)
        table += rows
        for _ in range(0, K):
            at = tl.load(table, mask=rows < n_out, other=-1).to(tl.int64)
            if tl.max(at, 0) >= 0:
                for first in range(0, C, INNER):
                    c = first + inner
                    one = tl.load(
                        features + at[:, None] * C + c[None, :],
                        mask=(at >= 0)[:, None] & (c < C)[None, :],
                        other=0.0,
                    )
                    other = tl.load(
                        weight + c[:, None] * D + columns[None, :],
                        mask=(c < C)[:, None] & (columns < D)[None, :],
                        other=0.0,
                    )
                    total += tl.dot(one, other, input_precision=PRECISION)
            table += n_out  # moved on, as its product with the tap may not fit 32 bits
            weight += C * D
        if BIAS:
            total += tl.load(bias + columns, mask=columns < D, other=0.0).to(tl.float32)[None, :]
        tl.store(
            found + rows[:, None] * D + columns[None, :],
            total,
            mask=(rows < n_out)[:, None] & (columns < D)[None, :],
        )

    @triton.jit  # type: ignore[untyped-decorator]
    def weigh(  # type: ignore[no-untyped-def]
        features, gradient, inputs, outputs, starts, parts, K, C, D, shares,
        ROWS: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr, PRECISION: tl.constexpr,
    ):  # fmt: skip
        tap, share = tl.program_id(0) // shares, tl.program_id(0) % shares
        c = tl.program_id(1) * INNER + tl.arange(0, INNER)
        columns = tl.program_id(2) * OUTER + tl.arange(0, OUTER)
        first, last = tl.load(starts + tap), tl.load(starts + tap + 1)
        each = tl.cdiv(tl.cdiv(last - first, shares), ROWS) * ROWS
        begin = first + share * each
        end = tl.minimum(begin + each, last)
        total = tl.zeros((INNER, OUTER), tl.float32)
        for at in range(begin, end, ROWS):
            pair = at + tl.arange(0, ROWS)
            source = tl.load(inputs + pair, mask=pair < end, other=0).to(tl.int64)
            target = tl.load(outputs + pair, mask=pair < end, other=0).to(tl.int64)
            one = tl.load(
                features + source[None, :] * C + c[:, None],
                mask=(pair < end)[None, :] & (c < C)[:, None],
                other=0.0,
            )
            other = tl.load(
                gradient + target[:, None] * D + columns[None, :],
                mask=(pair < end)[:, None] & (columns < D)[None, :],
                other=0.0,
            )
            total += tl.dot(one, other, input_precision=PRECISION)
        at = (share.to(tl.int64) * K + tap) * C
        tl.store(
            parts + (at + c)[:, None] * D + columns[None, :],
            total,
            mask=(c < C)[:, None] & (columns < D)[None, :],
        )

    return convolve, weigh
