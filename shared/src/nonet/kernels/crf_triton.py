"""The Triton form of `nonet.kernels.crf`: one program a sequence, its T x T numbers in registers.

A program walks over its sequence forwards and leaves its states in memory, then backwards, where it turns
them into marginals. Nothing is shared between programs, so a sequence's numbers are the same bits in every
batch. States padded to a power of two are at -inf.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from nonet.kernels.dispatch import import_triton


def sums(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log Z (B,), marginals (B, L, T) and expected transitions (B, T, T).

    Args:
        emissions: (B, L, T) float32 or float64, L and T at least 1; the rest in the same type.
        transitions: (T, T).
        start: (T,).
        end: (T,).
        lengths: (B,) int64 in 0..L.
    """
    B, L, T = emissions.shape
    totals, unary = emissions.new_empty(B), emissions.new_zeros(B, L, T)
    pairs = emissions.new_empty(B, T, T)
    parts = [part.contiguous() for part in (emissions, transitions, start, end, lengths)]
    with torch.cuda.device_of(emissions):
        _kernels()[0][(B,)](*parts, totals, unary, pairs, L, T, _padded(T), num_warps=1)
    return totals, unary, pairs


def best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Labels (B, L) int64, -1 beyond the length, and scores (B,). Args are those of `sums`."""
    B, L, T = emissions.shape
    scores = emissions.new_empty(B)
    tags = lengths.new_full((B, L), -1)
    sources = torch.empty(B, L, T, dtype=torch.int32, device=emissions.device)
    parts = [part.contiguous() for part in (emissions, transitions, start, end, lengths)]
    with torch.cuda.device_of(emissions):
        _kernels()[1][(B,)](*parts, scores, tags, sources, L, T, _padded(T), num_warps=1)
    return tags, scores


def _padded(T: int) -> int:
    return max(2, 1 << (T - 1).bit_length())


@functools.cache
def _kernels() -> tuple[Any, Any]:
    triton = import_triton()
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def log_partition(  # type: ignore[no-untyped-def]
        emissions, transitions, start, end, lengths, totals, unary, pairs, L, T, PADDED: tl.constexpr
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        length = tl.load(lengths + row)
        emissions += row * L * T
        unary += row * L * T
        states = tl.arange(0, PADDED)
        real = states < T
        both = real[:, None] & real[None, :]
        square = states[:, None] * T + states[None, :]
        moves = tl.load(transitions + square, mask=both, other=float("-inf"))

        forward = tl.load(start + states, mask=real, other=float("-inf"))
        forward += tl.load(emissions + states, mask=real, other=float("-inf"))
        if length > 0:
            tl.store(unary + states, forward, mask=real)
        for at in range(1, length):
            steps = forward[:, None] + moves
            top = tl.max(steps, 0)
            base = tl.where(top == float("-inf"), 0.0, top)  # -inf - -inf would be nan, and log 0 a warning
            total = tl.sum(tl.exp(steps - base[None, :]), 0)
            forward = tl.where(total > 0, base + tl.log(tl.where(total > 0, total, 1.0)), float("-inf"))
            forward += tl.load(emissions + at * T + states, mask=real, other=float("-inf"))
            tl.store(unary + at * T + states, forward, mask=real)
        backward = tl.load(end + states, mask=real, other=float("-inf"))
        last = forward + backward
        most = tl.max(last, 0)
        most = tl.where(most == float("-inf"), 0.0, most)
        all_paths = tl.sum(tl.exp(last - most), 0)
        normalizer = most + tl.log(tl.where(all_paths > 0, all_paths, 1.0))
        normalizer = tl.where(all_paths > 0, normalizer, float("-inf"))
        tl.store(totals + row, tl.where(length > 0, normalizer, 0.0))

        tl.debug_barrier()  # other threads may have stored what this one loads
        whole = tl.where(normalizer == float("-inf"), 0.0, normalizer)
        expected = tl.zeros((PADDED, PADDED), moves.dtype)
        for back in range(0, length):
            at = length - 1 - back
            forward = tl.load(unary + at * T + states, mask=real, other=float("-inf"))
            # Divided by their sum, that rounding errors of all labels fall out.
            shares = tl.exp(forward + backward - whole)
            tl.store(unary + at * T + states, shares / tl.maximum(tl.sum(shares, 0), 1e-30), mask=real)
            if at > 0:
                scores = tl.load(emissions + at * T + states, mask=real, other=float("-inf"))
                steps = moves + (scores + backward)[None, :]
                earlier = tl.load(unary + (at - 1) * T + states, mask=real, other=float("-inf"))
                both_shares = tl.exp(earlier[:, None] + steps - whole)
                expected += both_shares / tl.maximum(tl.sum(both_shares), 1e-30)
                top = tl.max(steps, 1)
                offset = tl.where(top == float("-inf"), 0.0, top)
                total = tl.sum(tl.exp(steps - offset[:, None]), 1)
                known = total > 0
                backward = tl.where(known, offset + tl.log(tl.where(known, total, 1.0)), float("-inf"))
        tl.store(pairs + row * T * T + square, expected, mask=both)

    @triton.jit  # type: ignore[untyped-decorator]
    def best_path(  # type: ignore[no-untyped-def]
        emissions, transitions, start, end, lengths, scores, tags, sources, L, T, PADDED: tl.constexpr
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        length = tl.load(lengths + row)
        emissions += row * L * T
        sources += row * L * T
        states = tl.arange(0, PADDED)
        real = states < T
        square = states[:, None] * T + states[None, :]
        moves = tl.load(transitions + square, mask=real[:, None] & real[None, :], other=float("-inf"))

        best = tl.load(start + states, mask=real, other=float("-inf"))
        best += tl.load(emissions + states, mask=real, other=float("-inf"))
        for at in range(1, length):
            reached = best[:, None] + moves
            tl.store(sources + at * T + states, tl.argmax(reached, 0).to(tl.int32), mask=real)
            best = tl.max(reached, 0)
            best += tl.load(emissions + at * T + states, mask=real, other=float("-inf"))
        best += tl.load(end + states, mask=real, other=float("-inf"))
        tl.store(scores + row, tl.where(length > 0, tl.max(best, 0), 0.0))

        tl.debug_barrier()
        tag = tl.argmax(best, 0).to(tl.int32)
        for back in range(0, length):
            at = length - 1 - back
            tl.store(tags + row * L + at, tag.to(tl.int64))
            if at > 0:
                tag = tl.load(sources + at * T + tag)

    return log_partition, best_path
