"""The Triton form of `nonet.kernels.patch_select`: a launch to choose, one to move, one for the gradient.

To choose, a program a row of scores counts for each patch those that come before it, in registers: no sort,
and ties are settled by the index. To move, a program a token that goes out copies it, or sums the dropped, so
each token is read once. Backward, each token of an image asks its rows in their order what became of it: no
atomic sums, and so the same bits each time.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton

CHUNK = 16  # patches that all others are compared with at once
ROWS = 32  # tokens that a program sums at once
COLUMNS = 128  # numbers of a token that a program has


def choose(scores: Tensor, k: int, fuse: bool) -> tuple[Tensor, Tensor | None]:
    """Kept patches (E, k) int64, ascending, and weights (E, N) of the dropped ones, 0 at kept ones, if fused.

    Args:
        scores: (E, N) float32 or float64, finite.
        k: in 1..N.
        fuse: weights are wanted.
    """
    E, N = scores.shape
    kept = torch.empty(E, k, dtype=torch.int64, device=scores.device)
    weights = torch.empty_like(scores, memory_format=torch.contiguous_format)
    if E:
        wide = max(CHUNK, 1 << (N - 1).bit_length())
        with torch.cuda.device_of(scores):  # Triton launches on the current device
            _kernels()[0][(E,)](
                scores.contiguous(), kept, weights, N, k, FUSE=fuse, WIDE=wide, CHUNK=CHUNK,
                num_warps=4 if wide <= 512 else 8,
            )  # fmt: skip
    return kept, weights if fuse else None


def move(tokens: Tensor, kept: Tensor, weights: Tensor | None, of_image: Tensor | None) -> Tensor:
    """Selected tokens (E, 1 + k [+ 1], d) of `tokens` (B, 1 + N, d); weights (E, N) add the fused one."""
    _, S, d = tokens.shape
    E, k = kept.shape
    length = 1 + k + (weights is not None)
    found = tokens.new_empty(E, length, d)
    if found.numel():
        # Triton takes no None: what is absent is not read either
        parts = [
            kept,
            kept if weights is None else weights,
            kept if of_image is None else of_image.contiguous(),
        ]
        with torch.cuda.device_of(found):
            _kernels()[1][(E * length, -(-d // COLUMNS))](
                tokens.contiguous(), *parts, found, S, d, k, length, SAME=of_image is None, **_sizes(tokens)
            )
    return found


def move_backward(
    gradient: Tensor,
    kept: Tensor,
    weights: Tensor | None,
    of_image: Tensor | None,
    size: tuple[int, int, int],
) -> Tensor:
    """The gradient (B, 1 + N, d) = `size` of the tokens, of that (E, L, d) of the selected ones."""
    B, S, d = size
    E, k = kept.shape
    found = gradient.new_empty(size)
    if not found.numel():
        return found
    numbers = torch.arange(1, k + 1, device=kept.device, dtype=torch.int32).expand(E, k)
    places = torch.full((E, S - 1), -1, dtype=torch.int32, device=kept.device).scatter_(1, kept, numbers)
    images = torch.arange(B + 1, device=kept.device)
    if of_image is None:
        order, starts = images, images
    else:
        of_image, order = of_image.sort(stable=True)
        starts = torch.searchsorted(of_image, images)
    given = [places, places if weights is None else weights, order, starts]
    with torch.cuda.device_of(found):
        _kernels()[2][(B * S, -(-d // COLUMNS))](
            gradient.contiguous(), *given, found, S, d, gradient.shape[1], FUSE=weights is not None,
            COLUMNS=COLUMNS, DOUBLE=gradient.dtype == torch.float64,
        )  # fmt: skip
    return found


def _sizes(tokens: Tensor) -> dict[str, Any]:
    return {"ROWS": ROWS, "COLUMNS": COLUMNS, "DOUBLE": tokens.dtype == torch.float64}


@functools.cache
def _kernels() -> tuple[Any, Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def choose(  # type: ignore[no-untyped-def]
        scores, kept, weights, N, k, FUSE: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        scores += row * N
        patch = tl.arange(0, WIDE)
        real = patch < N
        own = tl.load(scores + patch, mask=real, other=float("-inf"))
        before = tl.zeros((WIDE,), tl.int32)
        for first in range(0, N, CHUNK):
            other = first + tl.arange(0, CHUNK)
            there = tl.load(scores + other, mask=other < N, other=float("-inf"))
            wins = (there[None, :] > own[:, None]) | (
                (there[None, :] == own[:, None]) & (other[None, :] < patch[:, None])
            )
            before += tl.sum((wins & (other < N)[None, :]).to(tl.int32), 1)
        stays = real & (before < k)
        place = tl.cumsum(stays.to(tl.int32), 0) - 1
        tl.store(kept + row * k + place, patch.to(tl.int64), mask=stays)
        if FUSE:
            leaves = real & (before >= k)
            top = tl.max(own, 0)
            moved = tl.where(real, own - top, 0.0)
            moved = tl.where(real, moved - tl.sum(moved, 0) / N, 0.0)
            spread = tl.sqrt(tl.sum(moved * moved, 0) / N)
            z = moved / tl.where(spread > 0, spread, 1.0)
            shares = tl.where(leaves, tl.exp(z - tl.max(tl.where(leaves, z, float("-inf")), 0)), 0.0)
            tl.store(weights + row * N + patch, shares / tl.sum(shares, 0), mask=real)

    @triton.jit  # type: ignore[untyped-decorator]
    def move(  # type: ignore[no-untyped-def]
        tokens, kept, weights, of_image, found, S, d, k, L,
        SAME: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DOUBLE: tl.constexpr,
    ):  # fmt: skip
        at = tl.program_id(0).to(tl.int64)
        row, place = at // L, at % L
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        image = row
        if not SAME:
            image = tl.load(of_image + row)
        tokens += image * S * d + column
        if place <= k:
            source = tl.load(kept + row * k + place - 1, mask=place > 0, other=-1) + 1
            tl.store(found + at * d + column, tl.load(tokens + source * d, mask=column < d), mask=column < d)
        else:
            kind = tl.float64 if DOUBLE else tl.float32
            total = tl.zeros((COLUMNS,), kind)
            for first in range(0, S - 1, ROWS):
                patch = first + tl.arange(0, ROWS)
                share = tl.load(weights + row * (S - 1) + patch, mask=patch < S - 1, other=0).to(kind)
                read = (share != 0)[:, None] & (column < d)[None, :]
                values = tl.load(tokens[None, :] + (1 + patch)[:, None] * d, mask=read, other=0).to(kind)
                total += tl.sum(values * share[:, None], 0)
            tl.store(found + at * d + column, total, mask=column < d)

    @triton.jit  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[no-untyped-def]
        gradient, places, weights, order, starts, found, S, d, L,
        FUSE: tl.constexpr, COLUMNS: tl.constexpr, DOUBLE: tl.constexpr,
    ):  # fmt: skip
        at = tl.program_id(0).to(tl.int64)
        image, token = at // S, at % S
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        kind = tl.float64 if DOUBLE else tl.float32
        total = tl.zeros((COLUMNS,), kind)
        for number in range(tl.load(starts + image), tl.load(starts + image + 1)):
            row = tl.load(order + number)
            place = tl.load(places + row * (S - 1) + token - 1, mask=token > 0, other=0)
            taken = gradient + (row * L + place) * d + column
            total += tl.load(taken, mask=tl.where(column < d, place, -1) >= 0, other=0).to(kind)
            if FUSE:
                share = tl.load(weights + row * (S - 1) + token - 1, mask=token > 0, other=0).to(kind)
                last = gradient + (row * L + L - 1) * d + column
                total += share * tl.load(last, mask=tl.where(column < d, share, 0) != 0, other=0).to(kind)
        tl.store(found + at * d + column, total, mask=column < d)

    return choose, move, backward
