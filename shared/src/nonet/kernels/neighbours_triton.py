"""The Triton form of `nonet.kernels.neighbours`: all pairs, compared in registers.

A squared distance, which is not negative, orders as the integer of its bits does; above the point's number in
one int64 it makes a key whose order is by distance and then by index. A program keeps the k least keys of a
block of queries and goes over the points in tiles; a tile costs a turn for each key of it that enters.
Farthest points are one program, as each depends on the one before.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton

QUERIES = 16  # that a program asks at once
POINTS = 128  # of a tile
BLOCK = 2048  # points that the farthest one is looked for in at once
NONE = 2**63 - 1  # the key of no point


def search(points: Tensor, queries: Tensor, k: int, radius: float) -> tuple[Tensor, Tensor]:
    """Distances and indices (M, k) of the k nearest points closer than a radius; infinite and -1 for none.

    Args:
        points: (N, 3) float32, fewer than 2^31.
        queries: (M, 3) float32.
        k: in 1..N.
        radius: may be infinite.
    """
    M, N = len(queries), len(points)
    wide = max(2, 1 << (k - 1).bit_length())
    keys = torch.empty(M, k, dtype=torch.int64, device=queries.device)
    with torch.cuda.device_of(queries):  # Triton launches on the current device
        _kernels()[0][(-(-M // QUERIES),)](
            points.contiguous(), queries.contiguous(), keys, N, M, k,
            NONE=NONE, QUERIES=QUERIES, POINTS=POINTS, WIDE=wide,
        )  # fmt: skip
    keys = keys.sort(1).values
    indices = keys & 0xFFFFFFFF
    distances = (keys >> 32).to(torch.int32).view(torch.float32).sqrt()
    out = (keys == NONE) | ~(distances < radius)
    return distances.masked_fill(out, math.inf), indices.masked_fill(out, -1)


def farthest(points: Tensor, count: int, start: int) -> Tensor:
    """(count,) int64: points far from each other, of (N, 3) float32, from `start` on."""
    found = torch.empty(count, dtype=torch.int64, device=points.device)
    away = torch.full((len(points),), math.inf, device=points.device)
    with torch.cuda.device_of(points):
        _kernels()[1][(1,)](points.T.contiguous(), away, found, len(points), count, start, BLOCK=BLOCK)
    return found


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def search(  # type: ignore[no-untyped-def]
        points, queries, keys, N, M, k,
        NONE: tl.constexpr, QUERIES: tl.constexpr, POINTS: tl.constexpr, WIDE: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * QUERIES + tl.arange(0, QUERIES)
        real = row < M
        x = tl.load(queries + row * 3, mask=real, other=0)
        y = tl.load(queries + row * 3 + 1, mask=real, other=0)
        z = tl.load(queries + row * 3 + 2, mask=real, other=0)
        slot = tl.arange(0, WIDE)[None, :]
        # slots beyond k hold the least of all keys, so that none of them is ever the worst
        best = tl.where(slot < k, tl.full((QUERIES, WIDE), NONE, tl.int64), -1)
        worst = tl.max(best, 1)
        for first in range(0, N, POINTS):
            point = first + tl.arange(0, POINTS)
            there = point < N
            dx = x[:, None] - tl.load(points + point * 3, mask=there, other=0)[None, :]
            dy = y[:, None] - tl.load(points + point * 3 + 1, mask=there, other=0)[None, :]
            dz = z[:, None] - tl.load(points + point * 3 + 2, mask=there, other=0)[None, :]
            bits = (dx * dx + dy * dy + dz * dz).to(tl.int32, bitcast=True).to(tl.int64)
            key = (bits << 32) | point[None, :].to(tl.int64)
            key = tl.where(there[None, :] & real[:, None], key, NONE)
            least = tl.min(key, 1)
            while tl.max((least < worst).to(tl.int32), 0) > 0:
                enters = least < worst
                # the keys of points differ, but slots that are still empty are equal: the first one is taken
                place = tl.min(tl.where(best == worst[:, None], slot, WIDE), 1)
                best = tl.where((slot == place[:, None]) & enters[:, None], least[:, None], best)
                key = tl.where(key == least[:, None], NONE, key)
                worst = tl.max(best, 1)
                least = tl.min(key, 1)
        tl.store(keys + row[:, None] * k + slot, best, mask=real[:, None] & (slot < k))

    @triton.jit  # type: ignore[untyped-decorator]
    def farthest(points, away, found, N, count, start, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        last = tl.program_id(0) + start  # a tensor, also where Triton takes a start of 1 for a constant
        for place in range(0, count):
            tl.store(found + place, last.to(tl.int64))
            x, y, z = tl.load(points + last), tl.load(points + N + last), tl.load(points + 2 * N + last)
            most, most_at = -2.0, 0
            for first in range(0, N, BLOCK):
                at = first + tl.arange(0, BLOCK)
                real = at < N
                dx = tl.load(points + at, mask=real, other=0) - x
                dy = tl.load(points + N + at, mask=real, other=0) - y
                dz = tl.load(points + 2 * N + at, mask=real, other=0) - z
                # a number of `away` is read and written by one and the same thread
                known = tl.where(at == last, -1.0, tl.load(away + at, mask=real, other=-2.0))
                known = tl.minimum(known, dx * dx + dy * dy + dz * dz)
                known = tl.where(real, known, -2.0)
                tl.store(away + at, known, mask=real)
                here = tl.max(known, 0)
                if here > most:
                    most_at = first + tl.argmax(known, 0, tie_break_left=True)
                    most = here
            last = most_at

    return search, farthest
